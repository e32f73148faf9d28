"""Names what an unsupported file is, by its first bytes, so that a refusal can say it."""

import codecs
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
_BRAND: Final = re.compile(rb"....ftyp(isom|iso[2-9]|mp4[12]|M4V |qt  |f4v |avc1|3gp.|3g2.|MSNV|dash)", re.DOTALL)
_SOUND: Final = re.compile(rb"....ftyp(?:M4A |M4B |F4A )", re.DOTALL)
_NETPBM: Final = re.compile(rb"P[1-7]\s")
_SVG: Final = re.compile(
    rb"\A(?>\s+|<\?xml(?>.*?\?>)|<!--(?>.*?-->)|<!DOCTYPE[^>\[]*+(?:\[(?>.*?\])\s*)?>)*+"
    rb"<(?:\w{1,64}:)?svg[\s>/]",
    re.DOTALL,
)
"""Nothing is tried twice, however many comments there are."""
_HTML: Final = re.compile(rb"\A\s*<(?:!doctype html|html)", re.IGNORECASE)
_PATTERNS: Final = (
    (_BRAND, _VIDEO),
    (_SOUND, "a sound file"),
    (_NETPBM, "a Netpbm image"),
    (_SVG, "an SVG drawing"),
    (_HTML, "a web page"),
)
SENTENCES: Final = ("This is {}.", f"This is {{}}. Accepted are {ACCEPTED}.")
"""How refusals say it: the first one of kinds that say themselves what to do."""
_EMPTY: Final = "an empty file"
_TEXT: Final = "a text file"
_OFFICE: Final = "a document of an office program"
_READ: Final = 4_096
_ZIP_NAME_AT: Final = 30
_OFFICE_ENTRIES: Final = (b"[Content_Types].xml", b"_rels/.rels", b"docProps/app.xml", b"docProps/core.xml")
"""Entries with which documents of Office Open XML begin (ECMA-376, part 2)."""
_ICON_BYTES: Final = 22
_MAX_ICONS: Final = 1_000
_ICONS: Final = {1: "an icon (ICO)", 2: "a cursor (CUR)"}
_MARKS: Final = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_CHARACTER_BYTES: Final = 3
_LEAST_TEXT: Final = 4
_GIF: Final = (b"GIF87a", b"GIF89a")
_RAW_PHOTOMETRICS: Final = frozenset((32_803, 34_892))
"""Values of a colour filter array and of linear raw (DNG 1.7, chapter 6)."""
_DNG_VERSION: Final = 50_706
_PHOTOMETRIC, _SUB_DIRECTORIES = 262, 330
_MAX_SUB_DIRECTORIES: Final = 16


def _icon(head: bytes) -> str | None:
    """Whether a file is an icon or a cursor, whose first bytes other files have, too."""
    if len(head) < 6 or head[:2] != b"\0\0" or head[3] or head[2] not in _ICONS:  # noqa: PLR2004 - its header
        return None
    count, reserved, place = int.from_bytes(head[4:6], "little"), head[9:10], int.from_bytes(head[18:22], "little")
    is_cut_off = len(head) < _ICON_BYTES
    is_icon = 0 < count <= _MAX_ICONS and not reserved.strip(b"\0") and (is_cut_off or place >= _ICON_BYTES)
    return _ICONS[head[2]] if is_icon else None


def _zip(head: bytes) -> str:
    """What a ZIP file is, by its first entry: office programs begin with entries of their own."""
    name = head[_ZIP_NAME_AT : _ZIP_NAME_AT + int.from_bytes(head[26:28], "little")]
    if name in _OFFICE_ENTRIES or head.startswith(b"mimetypeapplication/", _ZIP_NAME_AT):
        return _OFFICE
    return "a ZIP file: send it to /predictions/batch"


def describe(data: bytes) -> str | None:
    """What a file is, such as "a PDF document"; None if that is unknown."""
    head = data[:_READ]
    if not data:
        return _EMPTY
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return _zip(head) if name.startswith("a ZIP") else name
    if icon := _icon(head):
        return icon
    if head.startswith(b"RIFF") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    text = _text_of(head)
    for pattern, name in _PATTERNS:
        if pattern.match(text.encode() if text else head):
            return name
    return _TEXT if text else None


def kinds() -> set[str]:
    """All that ``describe`` may return."""
    named = {name for _, _, name in _MAGIC} | {name for _, name in _PATTERNS}
    return named | {*_RIFF.values(), *_ICONS.values(), _EMPTY, _TEXT, _OFFICE}


def _text_of(head: bytes) -> str | None:
    """The beginning of a text file; None for other files."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            text = head[len(mark) :].decode(encoding, errors="ignore")
            break
    else:
        try:
            text = head.decode()
        except UnicodeDecodeError as error:
            # The last character may be cut off.
            if not 0 < len(head) - error.start <= _CHARACTER_BYTES or error.start < _LEAST_TEXT:
                return None
            text = head[: error.start].decode()
        if len(text) < _LEAST_TEXT and not text.isascii():
            return None
    is_text = all(character.isprintable() or character in "\t\r\n\f" for character in text)
    return text if is_text and not head.startswith(_GIF) else None


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
