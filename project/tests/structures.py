"""Builds files by their structure: boxes of HEIC and AVIF, directories of TIFF."""

import struct


def box(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">L4s", 8 + len(contents), kind) + contents


def avif(*boxes: bytes) -> bytes:
    """An AVIF file with these boxes in its ``meta`` box."""
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", bytes(4) + b"".join(boxes)) + box(b"mdat", bytes(64))


def items(count: int) -> bytes:
    entry = box(b"infe", b"\2\0\0\0" + struct.pack(">HH4s", 1, 0, b"av01") + b"\0")
    head = struct.pack(">LH", 0, count) if count < 2**16 else struct.pack(">LL", 1 << 24, count)
    return box(b"iinf", head + entry * count)


def entries(kind: bytes, count: int) -> bytes:
    head = {b"iloc": b"\0\0\0\0\x44\0" + struct.pack(">H", count), b"ipma": bytes(4) + struct.pack(">L", count)}[kind]
    return box(kind, head + bytes(16))


def tiff(order: str, kind: int, length: int, size: int, *, big: bool = False) -> bytes:
    """A TIFF whose only tag has ``length`` values of ``size`` bytes in all."""
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
        return head + struct.pack(f"{order}QHHQQQ", 1, 256, kind, length, 48, 0) + bytes(size)
    return (
        mark
        + struct.pack(f"{order}HL", 42, 8)
        + struct.pack(f"{order}HHHLLL", 1, 256, kind, length, 26, 0)
        + bytes(size)
    )
