"""ZIP files that are unpacked as they arrive: nothing of them is on a disk, and one file at a time in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from stream_unzip import UnzipError, stream_unzip

from app.domain import ArchiveRefused

SIGNATURES: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""What a ZIP file begins with: with a file, or with its end where it is empty (APPNOTE 4.3)."""

MOST_RATIO: Final = 100
"""Times an archive may grow: images are packed already, and bitmaps of a single colour come far within the spare."""
SPARE_BYTES: Final = 32 * 2**20

THREADS: Final = 8
_threads = ThreadPoolExecutor(THREADS, "archives")
"""Of their own: they wait for what clients send."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold: files, bytes of each (others are passed over), and bytes in all."""

    files: int
    file_bytes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive; ``data`` is None where it has more bytes than a file may have."""

    name: str
    data: bytes | None


async def unpacked(chunks: AsyncIterator[bytes], limits: Limits) -> AsyncIterator[Entry]:
    """The files of an archive, but for those that systems hide in it.

    Raises ArchiveRefused where it is damaged, or beyond a limit; what came before stands.
    """
    archive = _Archive(chunks, limits)
    loop = asyncio.get_running_loop()
    try:
        while entry := await loop.run_in_executor(_threads, archive.next):
            yield entry
    except UnzipError as error:
        raise ArchiveRefused(_REASONS.get(type(error).__name__, "The ZIP file is damaged.")) from error
    finally:
        archive.stopped = True


_REASONS: Final = {
    "MissingZipCryptoPasswordError": "The ZIP file has a password.",
    "MissingAESPasswordError": "The ZIP file has a password.",
    "NotStreamUnzippable": "The ZIP file can only be read from its end: pack it with another program.",
    "UnsupportedCompressionTypeError": "The ZIP file is packed in an unusual way: use Deflate.",
    "TruncatedDataError": "The ZIP file is incomplete.",
}


class _Archive:
    """Reads on in a thread, since unpacking is work, and asks the event loop for what it needs."""

    def __init__(self, chunks: AsyncIterator[bytes], limits: Limits) -> None:
        self.stopped = False
        self._chunks = chunks
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._packed = self._unpacked = self._files = self._hidden = 0
        self._entries = stream_unzip(self._arriving())

    def next(self) -> Entry | None:
        """The next file; None where there are no more."""
        for raw_name, _, parts in self._entries:
            name = _decoded(raw_name)
            data = self._joined(parts)
            if name.endswith("/") or _is_hidden(name):
                self._hidden += 1
            else:
                self._files += 1
            if self._files > self._limits.files or self._hidden > self._limits.files:
                raise ArchiveRefused(f"The ZIP file holds more than {self._limits.files} files.")
            if not (name.endswith("/") or _is_hidden(name)):
                return Entry(name, data)
        return None

    def _joined(self, parts: Iterator[bytes]) -> bytes | None:
        data = bytearray()
        fits = True
        for part in parts:
            self._unpacked += len(part)
            self._check_size()
            fits = fits and len(data) + len(part) <= self._limits.file_bytes
            if fits:
                data += part
            else:
                data.clear()
        return bytes(data) if fits else None

    def _check_size(self) -> None:
        if self._unpacked > self._limits.bytes:
            raise ArchiveRefused(f"The ZIP file holds more than {self._limits.bytes} bytes.")
        if self._unpacked > MOST_RATIO * self._packed + SPARE_BYTES:
            raise ArchiveRefused(f"The ZIP file grows to more than {MOST_RATIO} times its size.")

    def _arriving(self) -> Iterator[bytes]:
        async def arrive() -> bytes | None:
            return await anext(self._chunks, None)

        while not self.stopped:
            chunk = asyncio.run_coroutine_threadsafe(arrive(), self._loop).result()
            if chunk is None:
                return
            self._packed += len(chunk)
            if chunk:
                yield chunk


def _decoded(name: bytes) -> str:
    """UTF-8, as all write today, or the code page that was usual before (APPNOTE, appendix D)."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp437")


def _is_hidden(name: str) -> bool:
    """Whether an archive has a file for the sake of the system that made it: ``__MACOSX/``, ``.DS_Store``."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")
