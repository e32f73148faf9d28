"""Writes ICC profiles (ICC.1:2001-04, version 2) with a matrix or a grey curve."""

import struct

import numpy as np
from numpy.typing import NDArray

XY = tuple[float, float]

P3: tuple[XY, XY, XY] = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
PROPHOTO: tuple[XY, XY, XY] = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
SRGB: tuple[XY, XY, XY] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
D65: XY = (0.3127, 0.3290)
D50_XYZ = (0.9642, 1.0, 0.8249)


def rgb_profile(primaries: tuple[XY, XY, XY], gamma: float) -> bytes:
    """A profile of an RGB space with D65 white."""
    columns = np.array([_xyz(x, y) for x, y in primaries]).T
    matrix = columns * np.linalg.solve(columns, _xyz(*D65))
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adaptation = np.linalg.inv(cone) @ np.diag((cone @ np.array(D50_XYZ)) / (cone @ _xyz(*D65))) @ cone
    adapted = adaptation @ matrix
    tags = {name: _xyz_tag(adapted[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= {name: _curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    """A profile of a grey scale."""
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1, (1 - x - y) / y])


def _xyz_tag(values: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3l", *(round(65536 * float(value)) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">LH", 1, round(256 * gamma)) + b"\0\0"


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"test"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">L", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz_tag(np.array(D50_XYZ)),
        **tags,
    }
    table, body = b"", b""
    offset = 128 + 4 + 12 * len(tags)
    for name, contents in tags.items():
        padded = contents + bytes(-len(contents) % 4)
        table += struct.pack(">4sLL", name, offset + len(body), len(contents))
        body += padded
    size = offset + len(body)
    head = struct.pack(">L4sL4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3l", *(round(65536 * value) for value in D50_XYZ))
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + body
