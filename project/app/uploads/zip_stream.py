"""ZIP files unpacked while they arrive: nothing is written to disk, and one file at a time is in memory."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NoReturn

import stream_unzip as stream_unzip_module
from stream_unzip import UnsupportedCompressionTypeError, UnzipError, stream_unzip

from app.domain import ArchiveRefused

SIGNATURES: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""Start of a ZIP file: a local file header, or the end record of an empty archive (APPNOTE 4.3)."""

MAX_RATIO: Final = 100
"""Maximum expansion ratio: images are compressed already, and single-colour bitmaps fit into SPARE_BYTES."""
SPARE_BYTES: Final = 32 * 2**20

THREADS: Final = 8


def _refuse_deflate64() -> NoReturn:
    raise UnsupportedCompressionTypeError(9)


# Called as soon as an entry's header names Deflate64. It takes a hundred times as long to unpack as Deflate, and no
# common program uses it for files of less than 2 GB. The library has no option to exclude it.
vars(stream_unzip_module)["stream_inflate64"] = _refuse_deflate64


class ArchiveLimits:
    """Limits over all archives of one request. Methods raise ArchiveRefused."""

    def __init__(self, max_files: int, max_bytes: int) -> None:
        """``max_bytes``: after unpacking. The number of hidden files (``.DS_Store``) has the same limit."""
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._packed = self._unpacked = self._files = self._hidden = 0

    def add_packed(self, count: int) -> None:
        """Count packed bytes."""
        self._packed += count

    def add_unpacked(self, count: int) -> None:
        """Count unpacked bytes."""
        self._unpacked += count
        if self._unpacked > self._max_bytes:
            raise ArchiveRefused(f"The ZIP file unpacks to more than {self._max_bytes} bytes.")
        if self._unpacked > MAX_RATIO * self._packed + SPARE_BYTES:
            raise ArchiveRefused(f"The ZIP file unpacks to more than {MAX_RATIO} times its size.")

    def add_file(self, *, hidden: bool) -> None:
        """Count a file."""
        self._hidden += hidden
        self._files += not hidden
        if max(self._files, self._hidden) > self._max_files:
            raise ArchiveRefused(f"The ZIP file contains more than {self._max_files} files.")


class BoundedBuffer:
    """Joins chunks of at most ``max_bytes`` bytes in total."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._count = 0
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        """Add a chunk; above the limit none is kept."""
        self._count += len(chunk)
        self._chunks.append(chunk)
        if self._count > self._max_bytes:
            self._chunks.clear()

    @property
    def data(self) -> bytes | None:
        """All chunks joined; None if they exceed the limit."""
        data, self._chunks = b"".join(self._chunks), []
        return data if self._count <= self._max_bytes else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive; ``data`` is None if it exceeds the maximum file size."""

    name: str
    data: bytes | None


class ZipUnpacker:
    """Unpacks archives in threads of its own, because they wait for what clients send."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "archives")

    async def unpack(
        self, chunks: AsyncIterator[bytes], max_bytes: int, limits: ArchiveLimits
    ) -> AsyncGenerator[Entry]:
        """Files of an archive except hidden ones, each of at most ``max_bytes`` bytes.

        Raises ArchiveRefused if it is damaged or exceeds a limit; files already yielded remain valid.
        """
        archive = _Archive(chunks, max_bytes, limits)
        loop = asyncio.get_running_loop()
        try:
            while entry := await loop.run_in_executor(self._threads, archive.next):
                yield entry
        except UnzipError as error:
            raise ArchiveRefused(_REASONS.get(type(error).__name__, "The ZIP file is damaged.")) from error
        finally:
            archive.stop()


_REASONS: Final = {
    "MissingZipCryptoPasswordError": "The ZIP file is encrypted: remove its password.",
    "MissingAESPasswordError": "The ZIP file is encrypted: remove its password.",
    "NotStreamUnzippable": "The ZIP file does not support streaming: create it with another program.",
    "UnsupportedCompressionTypeError": "The ZIP file uses an unsupported compression method: use Deflate.",
    "TruncatedDataError": "The ZIP file is incomplete.",
}


class _Archive:
    """Unpacks in a thread, since that is CPU work, and requests chunks from the event loop."""

    def __init__(self, chunks: AsyncIterator[bytes], max_bytes: int, limits: ArchiveLimits) -> None:
        self._chunks = chunks
        self._max_bytes = max_bytes
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._request: Future[bytes | None] | None = None
        self._entries = stream_unzip(self._chunks_from_loop())

    def next(self) -> Entry | None:
        """The next file; None at the end."""
        for raw_name, _, parts in self._entries:
            name = _decode_name(raw_name)
            hidden = name.endswith("/") or _is_hidden(name)
            self._limits.add_file(hidden=hidden)
            buffer = BoundedBuffer(self._max_bytes)
            for part in parts:
                self._limits.add_unpacked(len(part))
                buffer.add(part)
            if not hidden:
                return Entry(name, buffer.data)
        return None

    def stop(self) -> None:
        """Wake a waiting thread: no caller needs the archive any longer."""
        self._stopped.set()
        if self._request is not None:
            self._request.cancel()

    def _chunks_from_loop(self) -> Iterator[bytes]:
        async def next_chunk() -> bytes | None:
            return await anext(self._chunks, None)

        while not self._stopped.is_set():
            self._request = asyncio.run_coroutine_threadsafe(next_chunk(), self._loop)
            if self._stopped.is_set():
                # The stop may have come between the check and the request.
                self._request.cancel()
            chunk = self._request.result()
            if chunk is None:
                return
            self._limits.add_packed(len(chunk))
            if chunk:
                yield chunk


def _decode_name(name: bytes) -> str:
    """UTF-8, or the code page used before it (APPNOTE, appendix D)."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp437")


def _is_hidden(name: str) -> bool:
    """Whether the operating system that made the archive added this file: ``__MACOSX/``, ``.DS_Store``."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")
