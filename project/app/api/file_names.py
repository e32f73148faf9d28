"""The file name of a part of a form, in all the ways that clients write it."""

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final
from urllib.parse import unquote_to_bytes

_QUOTED: Final = re.compile(rb'"(?:\\.|[^"\\])*"', re.DOTALL)
_EXTENDED: Final = re.compile(rb";\s*filename\*\s*=\s*([\w!#$%&+^`{}~-]+)'[^']*'([^\s;]*)", re.IGNORECASE)
_EXTENDED_QUOTED: Final = re.compile(
    rb";\s*filename\*\s*=\s*\"([\w!#$%&+^`{}~-]+)'[^'\"]*'([^\s;\"]*)\"", re.IGNORECASE
)
_ENCODED_WORDS: Final = re.compile(r"\s*(?:=\?[\w!#$%&+^`{}~-]+(?:\*[\w-]*)?\?[BbQq]\?[^?\s]*\?=\s*)+")


def file_name(disposition: bytes, plain: bytes | None) -> str | None:
    """The name in a ``Content-Disposition`` header; None if the part is no file.

    ``filename*`` (RFC 5987) takes precedence over ``plain``, the value of ``filename``, which may contain encoded words
    (RFC 2047), as .NET sends them. Browsers send UTF-8.
    """
    # Some clients quote it, which RFC 5987 forbids.
    extended = _EXTENDED.search(_QUOTED.sub(b'""', disposition)) or _EXTENDED_QUOTED.search(disposition)
    if extended:
        try:
            return unquote_to_bytes(extended[2]).decode(extended[1].decode())
        except (LookupError, UnicodeError):
            # An unknown or wrong encoding: the other name, if there is one.
            pass
    if plain is None:
        return "" if extended else None
    name = _unescaped(text_of(plain))
    if _ENCODED_WORDS.fullmatch(name):
        try:
            return str(make_header(decode_header(name))) or name
        except (LookupError, ValueError, HeaderParseError):
            return name
    return name


def _unescaped(name: str) -> str:
    """A name without the escapes of browsers (HTML Standard, multipart/form-data): of quotes and line breaks only."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def text_of(raw: bytes) -> str:
    """Decode UTF-8, which browsers send, or Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
