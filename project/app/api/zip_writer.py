"""Writes a ZIP file of any length piece by piece."""

import asyncio
import io
import zipfile


class ZipWriter:
    """A ZIP file whose bytes are taken while it grows. Images are not compressed again."""

    def __init__(self) -> None:
        self._target = _Stream()
        self._archive = zipfile.ZipFile(self._target, "w", zipfile.ZIP_STORED)

    async def add(self, path: str, data: bytes | str) -> bytes:
        """Add a file, a text compressed; returns the bytes of the archive since the last call."""
        compression = zipfile.ZIP_DEFLATED if isinstance(data, str) else zipfile.ZIP_STORED
        await asyncio.to_thread(self._archive.writestr, path, data, compression)
        return self._target.take()

    def close(self) -> bytes:
        """End the archive; returns its last bytes."""
        self._archive.close()
        return self._target.take()


class _Stream(io.BytesIO):
    """What was written since ``take`` was called last, at its position in the whole file.

    Within that, one can go back: sizes are then written before the data of each entry, not after it, where readers of
    streams cannot use them.
    """

    _taken = 0

    def tell(self) -> int:
        """The position in the whole file."""
        return self._taken + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position of the whole file that has not been taken yet."""
        assert whence == io.SEEK_SET
        return self._taken + super().seek(offset - self._taken)

    def take(self) -> bytes:
        """What was written since the last call."""
        data = self.getvalue()
        self._taken += len(data)
        super().seek(0)
        self.truncate()
        return data
