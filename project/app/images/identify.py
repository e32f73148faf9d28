"""Names what an unsupported file is, by its first bytes, so that a refusal can say it."""

import re
import struct
from typing import Final

ACCEPTED: Final = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF"
_RAW: Final = "a camera's raw file: convert it to JPEG first"
_VIDEO: Final = "a video"
_MAGIC: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\xff\xd8\xff\xf7", "a JPEG-LS image"),
    (0, b"II\xbc\x01", "a JPEG XR image"),
    (0, b"\0\0\1\0", "an icon (ICO)"),
    (0, b"\0\0\2\0", "a cursor (CUR)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"qoif", "a QOI image"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"gimp xcf", "a GIMP image"),
    (0, b"FORM", "an IFF file"),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"FOVb", _RAW),
    (4, b"ftypcrx ", _RAW),
    (0, b"PK\3\4", "a ZIP file: send it to /predictions/batch"),
    (0, b"PK\5\6", "a ZIP file: send it to /predictions/batch"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"7z\xbc\xaf", "a 7z file"),
    (0, b"Rar!", "a RAR file"),
    (0, b"\x1a\x45\xdf\xa3", _VIDEO),
    (0, b"\0\0\1\xba", _VIDEO),
    (0, b"\0\0\1\xb3", _VIDEO),
    (0, b"FLV\1", _VIDEO),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "a sound file"),
    (0, b"fLaC", "a sound file"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
)
_RIFF: Final = {b"AVI ": _VIDEO, b"WAVE": "a sound file"}
_BRAND: Final = re.compile(rb"....ftyp(isom|iso[2-9]|mp4[12]|M4V |M4A |qt  |avc1|3gp.|3g2.|MSNV|dash)", re.DOTALL)
_NETPBM: Final = re.compile(rb"P[1-7]\s")
_SVG: Final = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<svg[\s>/]", re.DOTALL)
_HTML: Final = re.compile(rb"\A\s*<(?:!doctype html|html)", re.IGNORECASE)
_PATTERNS: Final = ((_BRAND, _VIDEO), (_NETPBM, "a Netpbm image"), (_SVG, "an SVG drawing"), (_HTML, "a web page"))
_READ: Final = 4_096
_RAW_PHOTOMETRICS: Final = frozenset((32_803, 34_892))
"""Values of a colour filter array and of linear raw (DNG 1.7, chapter 6)."""
_DNG_VERSION: Final = 50_706
_PHOTOMETRIC, _SUB_DIRECTORIES = 262, 330
_MAX_SUB_DIRECTORIES: Final = 16


def describe(data: bytes) -> str | None:
    """What a file is, such as "a PDF document"; None if that is unknown."""
    head = data[:_READ]
    if not data:
        return "an empty file"
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return name
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    for pattern, name in (
        (_BRAND, _VIDEO),
        (_NETPBM, "a Netpbm image"),
        (_SVG, "an SVG drawing"),
        (_HTML, "a web page"),
    ):
        if pattern.match(head):
            return name
    return "a text file" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut off.
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)


def is_raw(data: bytes) -> bool:
    """Whether a TIFF is a camera's raw file, whose first directory may be a thumbnail."""
    if data[:4] not in {b"II*\0", b"MM\0*"}:
        return False
    if data[8:10] == b"CR":
        return True
    order = "<" if data[:1] == b"I" else ">"
    try:
        (first,) = struct.unpack_from(f"{order}L", data, 4)
        tags = _tags(data, order, first)
        if _DNG_VERSION in tags:
            return True
        count, place = tags.get(_SUB_DIRECTORIES, (0, 0))
        offsets = (
            [place] if count == 1 else struct.unpack_from(f"{order}{min(count, _MAX_SUB_DIRECTORIES)}L", data, place)
        )
        directories = [tags, *(_tags(data, order, offset) for offset in offsets if count)]
    except struct.error:
        return False
    photometrics = {one.get(_PHOTOMETRIC, (0, 0))[1] for one in directories}
    return bool(photometrics & _RAW_PHOTOMETRICS)


def _tags(data: bytes, order: str, directory: int) -> dict[int, tuple[int, int]]:
    """Count and value of each tag; the value is an offset if it does not fit."""
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    found = {}
    for place in range(directory + 2, directory + 2 + 12 * min(entries, 1_000), 12):
        tag, kind, count = struct.unpack_from(f"{order}HHL", data, place)
        form = "H" if kind == 3 and count == 1 else "L"  # noqa: PLR2004 - a SHORT
        found[tag] = count, struct.unpack_from(f"{order}{form}", data, place + 8)[0]
    return found
