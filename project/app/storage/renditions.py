"""A cache of rendered images on this machine's disk, bounded in size and age."""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from app.concurrency import repeating
from app.config import Settings
from app.observability.log_events import RENDITION_NOT_CACHED, RENDITION_NOT_DELETED
from app.storage.keys import UNFINISHED

log = logging.getLogger(__name__)

MAX_UNUSED_SECONDS: Final = 24 * 3600.0
"""Deletes renditions unused for this long: another machine may have deleted their image."""
TRIM_INTERVAL_SECONDS: Final = 3600.0
TRIM_FRACTION: Final = 0.1
"""Fraction of the limit: how much is written between two trims, and how much a trim frees."""
WARNING_INTERVAL: Final = 60.0
_DIGEST_BYTES: Final = 32


class Renditions:
    """Rendered images by the key of their image and the kind of rendition."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.renditions
        self._max_bytes = settings.renditions_bytes
        self._making: dict[Path, asyncio.Task[bytes]] = {}
        self._written = 0
        self._warned_at = -WARNING_INTERVAL

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the limits while inside, also those of a cache that other processes share."""

        async def step() -> None:
            await asyncio.to_thread(self._trim)

        async with repeating(step, TRIM_INTERVAL_SECONDS, "Deleting old renditions"):
            try:
                yield
            finally:
                tasks = list(self._making.values())
                for task in tasks:
                    task.cancel()
                if tasks:
                    await asyncio.wait(tasks)

    async def get(self, image_key: str, kind: str, make: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        """The rendition from the cache, or else from ``make``, which concurrent callers share.

        Raises what ``make`` raises.
        """
        path = self._path(image_key, kind)
        task = self._making.get(path)
        if task is None:
            task = self._making[path] = asyncio.create_task(self._read_or_make(path, make))
            task.add_done_callback(lambda done: self._finish(path, done))
        # Cancelling one caller does not cancel the rendering for the others.
        return await asyncio.shield(task)

    async def forget(self, image_keys: Iterable[str]) -> None:
        """Delete all renditions of deleted images; failures are logged."""
        prefixes = [self._prefix(key) for key in image_keys]
        names = {prefix.name for prefix in prefixes}
        for path in [path for path in self._making if path.name.split("-")[0] in names]:
            del self._making[path]
        await asyncio.to_thread(self._delete_all, prefixes)

    async def _read_or_make(self, path: Path, make: Callable[[], Awaitable[bytes]]) -> bytes:
        if not self._max_bytes:
            return await make()
        if (cached := await asyncio.to_thread(_read, path)) is not None:
            return cached
        made = await make()
        await asyncio.to_thread(self._write, path, made)
        if self._making.get(path) is not asyncio.current_task():
            # The image was deleted meanwhile.
            await asyncio.to_thread(self._delete_all, [path])
        return made

    def _finish(self, path: Path, done: asyncio.Task[bytes]) -> None:
        if self._making.get(path) is done:
            del self._making[path]
        if not done.cancelled():
            # Retrieved, so that asyncio does not report it if all callers have gone.
            done.exception()

    def _prefix(self, image_key: str) -> Path:
        digest = hashlib.sha256(image_key.encode()).hexdigest()
        return self._folder / digest[:2] / digest[2:]

    def _path(self, image_key: str, kind: str) -> Path:
        prefix = self._prefix(image_key)
        return prefix.with_name(f"{prefix.name}-{hashlib.sha256(kind.encode()).hexdigest()}")

    def _write(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(uuid.uuid4().hex + UNFINISHED)
            try:
                unfinished.write_bytes(hashlib.sha256(data).digest() + data)
                unfinished.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    unfinished.unlink()
                raise
            self._written += len(data)
            if self._written > self._max_bytes * TRIM_FRACTION:
                self._trim()
        except OSError as error:
            if time.monotonic() > self._warned_at + WARNING_INTERVAL:
                self._warned_at = time.monotonic()
                log.warning(RENDITION_NOT_CACHED, self._folder, error.strerror)

    def _trim(self) -> None:
        """Delete what was not used for a day, and the longest unused renditions above the limit."""
        self._written = 0
        files = sorted(_files(self._folder), key=lambda file: file.stat().st_mtime)
        excess = sum(file.stat().st_size for file in files) - self._max_bytes * (1 - TRIM_FRACTION)
        expired = time.time() - MAX_UNUSED_SECONDS
        for file in files:
            if excess <= 0 and file.stat().st_mtime >= expired:
                break
            excess -= file.stat().st_size
            self._delete_all([Path(file.path)])

    def _delete_all(self, prefixes: Iterable[Path]) -> None:
        """Delete the files whose paths begin with these."""
        try:
            for prefix in prefixes:
                for path in prefix.parent.glob(f"{prefix.name}*"):
                    path.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning(RENDITION_NOT_DELETED, self._folder, error.strerror)


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    # After a power failure a file may be incomplete: it was not synchronized.
    digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return data if hashlib.sha256(data).digest() == digest else None


def _files(folder: Path) -> list[os.DirEntry[str]]:
    """All files below a folder that still exist."""
    found: list[os.DirEntry[str]] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += _files(Path(entry.path))
            else:
                with contextlib.suppress(FileNotFoundError):
                    entry.stat()
                    found.append(entry)
    return found
