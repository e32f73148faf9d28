"""A corpus of malformed files in every accepted format, generated identically each time."""

import base64
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from tests.pictures import bomb, encoded, jpeg_with, scene, turned

FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "HEIF": {},
    "AVIF": {},
}
FLIPPED = 12
"""Files of each format with some bits flipped."""
CUTS = (0.02, 0.25, 0.5, 0.75, 0.98)
TIFF_WITH_FAR_STRIP = (
    "c-r&y)MDUZU|`T=U|?inU<9&6fS3`9&BVyezzn3@fS4J`28n|(8<foi#DY-uJq!#gqEK;=9x)_y#G&jBEDQ`XKN03|fH4Sqy85~BGJt`hJNt"
    "ir_WvU6|E0)u2Ln~yVT5o8`*&sb$NKE29oW|eu}w&4E2?4(>1Q=w$f~f3m1iF-"
    "!*N!I&Hz7mUM?vvphjL#50@YyEdaudAUCMm<|=`l6W|l#3Z$1;+1>)#n3x>m19ZRykZqI2O_l;FsWh+{7zjWy40wVZhaO)E*dlB<okI#os<A"
    "?I1O&*Wl~fjFq-G|AIJuc=h9GusW?~vpQFv}@Ng`C8Vn#|%5lmA-W^xGw8c@p2$p;(a;s7)rYyo36FgW>M-"
    "d@RQo3NID*)4hFU3Cm8vvwc4dQRnLwNkls0F!)}nTKGG&57tMUzg^_#jomL`gL<nPgIR@5cXI$T*!JI9?NH07%s5@03fqz@B"
)
"""Found by ``make fuzz``: a TIFF whose strip starts 604 MB into the file, and whose tags run into its pixels."""


def corpus() -> Iterator[tuple[str, bytes]]:
    """File names and contents."""
    wholes = {name: encoded(scene(120, 90), name, **options) for name, options in FORMATS.items()}
    for name, whole in wholes.items():
        yield from _damaged(name.lower(), whole)
    yield from _too_large()
    yield from _endless()
    yield from _two_at_once(wholes)
    yield from _lying_metadata()
    yield from _other_things()
    yield "tiff-far-strip", zlib.decompress(base64.b85decode(TIFF_WITH_FAR_STRIP))


def _damaged(name: str, whole: bytes) -> Iterator[tuple[str, bytes]]:
    yield f"{name}-whole", whole
    for cut in CUTS:
        yield f"{name}-cut-{cut}", whole[: int(len(whole) * cut)]
    chance = random.Random(name)  # noqa: S311 - the same every time
    for number in range(FLIPPED):
        data = bytearray(whole)
        for _ in range(1 + number):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield f"{name}-flipped-{number}", bytes(data)
    yield f"{name}-zeros-within", whole[: len(whole) // 2] + bytes(len(whole) // 2)
    yield f"{name}-noise-behind-header", whole[:64] + chance.randbytes(5_000)
    yield f"{name}-twice", whole + whole


def _too_large() -> Iterator[tuple[str, bytes]]:
    yield "png-bomb", bomb(20_000)
    yield "png-2-31-wide", _png(2**31 - 1, 1)
    yield "png-0-wide", _png(0, 10)
    yield "gif-65535", b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20)
    file_header = b"BM" + struct.pack("<IHHI", 100, 0, 0, 54)
    for name, side in {"2-30": 2**30, "negative": -5}.items():
        yield f"bmp-{name}", file_header + struct.pack("<IiiHH", 40, side, side, 1, 24) + bytes(24)
    whole = bytearray(encoded(scene(), "JPEG"))
    start = whole.index(b"\xff\xc0")
    whole[start + 5 : start + 9] = struct.pack(">HH", 65500, 65500)
    yield "jpeg-65500", bytes(whole)
    yield "thin", encoded(Image.new("RGB", (1, 60_000)), "JPEG")
    yield "wide", encoded(Image.new("RGB", (60_000, 1)), "PNG")


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def _endless() -> Iterator[tuple[str, bytes]]:
    frames = [Image.new("P", (16, 16), number % 256) for number in range(400)]
    for name, options in (("GIF", {"loop": 0}), ("WEBP", {}), ("PNG", {})):
        file = io.BytesIO()
        frames[0].save(file, name, save_all=True, append_images=frames[1:], **options)
        yield f"{name.lower()}-animated", file.getvalue()
    yield "gif-endless-blocks", encoded(scene(), "GIF")[:-1] + b"!\xfe" + b"\x01x" * 100_000
    yield "tiff-pages", _pages(300)
    # A directory of a TIFF that is followed by itself.
    round_and_round = bytearray(encoded(scene(20, 20), "TIFF"))
    (directory,) = struct.unpack_from("<I", round_and_round, 4)
    (entries,) = struct.unpack_from("<H", round_and_round, directory)
    struct.pack_into("<I", round_and_round, directory + 2 + 12 * entries, directory)
    yield "tiff-round-and-round", bytes(round_and_round)


def _pages(count: int) -> bytes:
    file = io.BytesIO()
    pages = [Image.new("L", (8, 8), number % 256) for number in range(count)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    return file.getvalue()


def _two_at_once(wholes: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Polyglots: different formats to different readers."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../evil.sh", "#!/bin/sh\n")
    yield "jpeg-and-zip", wholes["JPEG"] + archive.getvalue()
    yield "gif-and-script", wholes["GIF"].replace(b"GIF89a", b"GIF89a/*", 1) + b"*/=1;alert(1)"
    yield "png-and-html", wholes["PNG"] + b"<script>alert(1)</script>"
    yield "jpeg-in-png", wholes["PNG"][:33] + wholes["JPEG"]
    yield "pdf-and-jpeg", b"%PDF-1.4\n" + wholes["JPEG"]
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"


def _lying_metadata() -> Iterator[tuple[str, bytes]]:
    picture = scene(60, 40)
    for orientation in (0, 9, 65535):
        yield f"jpeg-orientation-{orientation}", encoded(picture, "JPEG", exif=turned(orientation))
    for name, exif in {
        "empty": b"Exif\0\0",
        "cut": b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        "far": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "round": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08",
        "noise": b"Exif\0\0" + bytes(range(256)) * 200,
    }.items():
        yield f"jpeg-exif-{name}", encoded(picture, "JPEG", exif=exif)
        yield f"png-exif-{name}", encoded(picture, "PNG", exif=exif)
    for name, profile in {"empty": b"\0", "noise": bytes(range(256)) * 300, "long": bytes(2_000_000)}.items():
        yield f"jpeg-profile-{name}", encoded(picture, "JPEG", icc_profile=profile)
        yield f"png-profile-{name}", encoded(picture, "PNG", icc_profile=profile)
    yield "jpeg-comments", jpeg_with(b"\xff\xfe", bytes(60_000), 100)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16", "CMYK"):
        name = "JPEG" if mode == "CMYK" else "PNG"
        yield f"mode-{mode}", encoded(Image.new(mode, (30, 20)), name)


def _other_things() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "a-byte", b"\xff"
    yield "zeros", bytes(10_000)
    yield "text", b"no picture at all"
    for name, start in {
        "jpeg": b"\xff\xd8\xff",
        "png": b"\x89PNG\r\n\x1a\n",
        "webp": b"RIFF\xff\xff\xff\x7fWEBPVP8 ",
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
        "tiff": b"II*\0\x08\0\0\0",
        "bigtiff": b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0",
    }.items():
        yield f"{name}-begins", start
        yield f"{name}-begins-and-noise", start + bytes(range(256)) * 40
