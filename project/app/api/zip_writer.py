"""Writes a ZIP file of any length piece by piece."""

import asyncio
import zipfile
from typing import IO, cast


class ZipWriter:
    """A ZIP file whose bytes are taken while it grows. Images are not compressed again."""

    def __init__(self) -> None:
        self._target = _Stream()
        self._archive = zipfile.ZipFile(cast("IO[bytes]", self._target), "w", zipfile.ZIP_STORED)

    async def add(self, path: str, data: bytes | str) -> bytes:
        """Add a file, a text compressed; returns the bytes of the archive since the last call."""
        compression = zipfile.ZIP_DEFLATED if isinstance(data, str) else zipfile.ZIP_STORED
        await asyncio.to_thread(self._archive.writestr, path, data, compression)
        return self._target.take()

    def close(self) -> bytes:
        """End the archive; returns its last bytes."""
        self._archive.close()
        return self._target.take()


class _Stream:
    """A write-only file; ``take`` returns what was written since the last call."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Append bytes."""
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def take(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._written)
        self._written.clear()
        return data
