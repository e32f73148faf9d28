"""ZIP files that are unpacked as they arrive: nothing of them is on a disk, and one file at a time in memory."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


class Account:
    """What all archives of one request have taken together, and may take. Its methods raise ArchiveRefused."""

    def __init__(self, most_files: int, most_bytes: int) -> None:
        """``most_bytes``: unpacked. As many files again may be such as systems hide in archives."""
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._packed = self._unpacked = self._files = self._hidden = 0

    def arrive(self, count: int) -> None:
        """So many packed bytes have come."""
        self._packed += count

    def unpack(self, count: int) -> None:
        """So many bytes more are unpacked."""
        self._unpacked += count
        if self._unpacked > self._most_bytes:
            raise ArchiveRefused(f"The ZIP file holds more than {self._most_bytes} bytes.")
        if self._unpacked > MOST_RATIO * self._packed + SPARE_BYTES:
            raise ArchiveRefused(f"The ZIP file grows to more than {MOST_RATIO} times its size.")

    def count(self, *, hidden: bool) -> None:
        """One file more."""
        self._hidden += hidden
        self._files += not hidden
        if max(self._files, self._hidden) > self._most_files:
            raise ArchiveRefused(f"The ZIP file holds more than {self._most_files} files.")


class Joined:
    """Chunks put together, as long as they are no more than ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        """One more; once they are too many none is kept."""
        self._count += len(chunk)
        self._chunks.append(chunk)
        if self._count > self._most:
            self._chunks.clear()

    @property
    def data(self) -> bytes | None:
        """All of them; None where they were too many."""
        data, self._chunks = b"".join(self._chunks), []
        return data if self._count <= self._most else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive; ``data`` is None where it has more bytes than a file may have."""

    name: str
    data: bytes | None


async def unpacked(chunks: AsyncIterator[bytes], most: int, account: Account) -> AsyncGenerator[Entry]:
    """The files of an archive, but for those that systems hide in it, each of at most ``most`` bytes.

    Raises ArchiveRefused where it is damaged, or beyond a limit; what came before stands.
    """
    archive = _Archive(chunks, most, account)
    loop = asyncio.get_running_loop()
    try:
        while entry := await loop.run_in_executor(_threads, archive.next):
            yield entry
    except UnzipError as error:
        raise ArchiveRefused(_REASONS.get(type(error).__name__, "The ZIP file is damaged.")) from error
    finally:
        archive.stop()


_REASONS: Final = {
    "MissingZipCryptoPasswordError": "The ZIP file has a password.",
    "MissingAESPasswordError": "The ZIP file has a password.",
    "NotStreamUnzippable": "The ZIP file can only be read from its end: pack it with another program.",
    "UnsupportedCompressionTypeError": "The ZIP file is packed in an unusual way: use Deflate.",
    "TruncatedDataError": "The ZIP file is incomplete.",
}


class _Archive:
    """Reads on in a thread, since unpacking is work, and asks the event loop for what it needs."""

    def __init__(self, chunks: AsyncIterator[bytes], most: int, account: Account) -> None:
        self._chunks = chunks
        self._most = most
        self._account = account
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._asked: Future[bytes | None] | None = None
        self._entries = stream_unzip(self._arriving())

    def next(self) -> Entry | None:
        """The next file; None where there are no more."""
        for raw_name, _, parts in self._entries:
            name = _decoded(raw_name)
            hidden = name.endswith("/") or _is_hidden(name)
            self._account.count(hidden=hidden)
            joined = Joined(self._most)
            for part in parts:
                self._account.unpack(len(part))
                joined.add(part)
            if not hidden:
                return Entry(name, joined.data)
        return None

    def stop(self) -> None:
        """Nobody waits any longer: a thread that does is woken."""
        self._stopped.set()
        if self._asked is not None:
            self._asked.cancel()

    def _arriving(self) -> Iterator[bytes]:
        async def arrive() -> bytes | None:
            return await anext(self._chunks, None)

        while not self._stopped.is_set():
            self._asked = asyncio.run_coroutine_threadsafe(arrive(), self._loop)
            if self._stopped.is_set():
                # Between the two lines before.
                self._asked.cancel()
            chunk = self._asked.result()
            if chunk is None:
                return
            self._account.arrive(len(chunk))
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
