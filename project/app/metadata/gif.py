"""GIF files (GIF89a: blocks)."""

from typing import Final

MOST_BLOCKS: Final = 500_000
_HEAD_BYTES: Final = 13
_EXTENSION: Final = 0x21
_IMAGE: Final = 0x2C
_END: Final = b";"
_CONTROL: Final = 0xF9
_APPLICATION: Final = 0xFF
_LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def without_metadata(data: bytes) -> bytes:
    """The images with their delays and loop; no comments, texts or other applications' data."""
    return _Blocks(data).without_metadata()


class _Blocks:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MOST_BLOCKS

    def without_metadata(self) -> bytes:
        data = self._data
        position = _HEAD_BYTES + _table_bytes(data[10:11])
        pieces = [data[:position]]
        while position < len(data) and data[position] in {_EXTENSION, _IMAGE}:
            if data[position] == _EXTENSION:
                kind = data[position + 1 : position + 2]
                end = self._after_blocks(position + 2)
                is_loop = data[position + 3 : position + 14] in _LOOPS
                kept = kind == bytes([_CONTROL]) or (kind == bytes([_APPLICATION]) and is_loop)
            else:
                # A descriptor of 10 bytes, a table of colours, the code size, and blocks.
                end = self._after_blocks(position + 11 + _table_bytes(data[position + 9 : position + 10]))
                kept = True
            if kept:
                pieces.append(data[position:end])
            position = end
        return b"".join([*pieces, _END] if position < len(data) else pieces)

    def _after_blocks(self, position: int) -> int:
        data = self._data
        while position < len(data):
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"the GIF has more than {MOST_BLOCKS} blocks")
            length = data[position]
            position += 1 + length
            if not length:
                break
        return position


def _table_bytes(flags: bytes) -> int:
    """Bytes of a table of colours, as the flags before it say."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
