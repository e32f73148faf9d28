"""GIF files (GIF89a: blocks)."""

import re
from typing import Final

MAX_BLOCKS: Final = 500_000
_HEAD_BYTES: Final = 13
_EXTENSION: Final = b"!"
_END: Final = b";"
_BEGIN: Final = re.compile(rb"[!,;]")
"""Start of an extension, an image, or the trailer."""
_CONTROL: Final = b"\xf9"
_APPLICATION: Final = b"\xff"
_LOOP_BYTES: Final = 18
"""Length of a loop extension, without trailing blocks."""
_LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def strip_metadata(data: bytes) -> bytes:
    """Images with their delays and loop count; without comments, text and application data."""
    return _Blocks(data).strip_metadata()


class _Blocks:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_BLOCKS

    def strip_metadata(self) -> bytes:
        data = self._data
        position = _HEAD_BYTES + _table_bytes(data[10:11])
        pieces = [data[:position]]
        # Readers skip bytes that start no block.
        while (found := _BEGIN.search(data, position)) and found[0] != _END:
            position = found.start()
            if found[0] == _EXTENSION:
                end = self._after_blocks(position + 2)
                pieces.append(_kept(data[position:end]))
            else:
                # A descriptor of 10 bytes, a colour table, the code size, and blocks.
                end = self._after_blocks(position + 11 + _table_bytes(data[position + 9 : position + 10]))
                pieces.append(data[position:end])
            position = end
        return b"".join([*pieces, _END] if found else pieces)

    def _after_blocks(self, position: int) -> int:
        data = self._data
        while position < len(data):
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"the GIF has more than {MAX_BLOCKS} blocks")
            length = data[position]
            position += 1 + length
            if not length:
                break
        return position


def _kept(extension: bytes) -> bytes:
    """An extension, as far as it affects how the image looks."""
    if extension[1:2] == _CONTROL:
        return extension
    if extension[1:2] == _APPLICATION and extension[3:14] in _LOOPS:
        return extension[:_LOOP_BYTES] + b"\0"
    return b""


def _table_bytes(flags: bytes) -> int:
    """Size of a colour table in bytes, from the preceding flags."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
