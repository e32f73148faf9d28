"""An image file in memory that Pillow's readers cannot read without end."""

from io import BytesIO
from typing import Final

MAX_HEADER_READS: Final = 5_000
MAX_READS: Final = 200_000
MAX_READS_PER_BYTE: Final = 4
"""Maximum average number of reads per byte: one is usual, hostile files refer to the same bytes many times."""


class MeteredFile(BytesIO):
    """An image file with a limited number of reads.

    Pillow's readers process millions of tiny blocks one by one, some in quadratic time; real images have no such
    blocks.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._bytes_left = MAX_READS_PER_BYTE * len(data) + 4096
        self.reads_left = MAX_HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self._bytes_left -= len(found)
        self.reads_left -= 1
        if self._bytes_left < 0 or self.reads_left < 0:
            raise OSError("the file has too many blocks")
        return found
