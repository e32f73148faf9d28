"""Images in a folder, local or shared by all hosts."""

import asyncio
import contextlib
import errno
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Final

import aiofiles.os

from app.concurrency import Batcher
from app.domain import ImageMissing, StartupError, StorageUnavailable
from app.observability.log_events import IMAGE_NOT_REMOVED, STORAGE_NOT_OURS
from app.storage.keys import OWNER, UNFINISHED, new_key

log = logging.getLogger(__name__)

MAX_STORED: Final = 16
"""Images stored in one turn of a thread."""

WARNING_INTERVAL: Final = 30.0
"""Minimum interval between warnings about the folder."""
PROBE_BYTES: Final = 64 * 1024
NO_ROOM: Final = "Images cannot be stored: the disk of UPLOADS_DIR is full or not writable."
NOT_STORED: Final = "The image could not be stored: the disk is full or not writable. Try again later."

UnstoredImage = tuple[bytes, str]
"""An image and its file extension."""


class FolderStorage:
    """Stores images in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._warned_at = -WARNING_INTERVAL
        self._put: Batcher[UnstoredImage, str] = Batcher(self._put_all, max_items=MAX_STORED)

    @property
    def location(self) -> str:
        """The folder's path."""
        return str(self._folder)

    async def owner(self) -> str | None:
        """The owner mark; None if there is none. Raises StorageUnavailable."""
        try:
            return (await asyncio.to_thread((self._folder / OWNER).read_text)).strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unavailable(error) from error

    async def set_owner(self, owner: str) -> None:
        """Set the owner mark. Raises StorageUnavailable."""
        if error := await asyncio.to_thread(_write, str(self._folder / OWNER), owner.encode()):
            raise error

    async def prepare(self) -> None:
        """Create the folder. Raises StartupError if it is not writable."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise StartupError(
                f"Images cannot be stored in {self._folder}: {error.strerror}. Set UPLOADS_DIR."
            ) from error

    async def check_room(self) -> None:
        """Write a file that is never visible, as large as a small image. Raises StorageUnavailable."""

        def write() -> None:
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                # The last write before the disk is full writes only part of the data.
                if file.write(bytes(PROBE_BYTES)) < PROBE_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            raise _unavailable(error, NO_ROOM) from error

    async def put(self, data: bytes, extension: str) -> str:
        """Store an image, batched with concurrent ones. Raises StorageUnavailable."""
        return await self._put((data, extension))

    async def put_at(self, key: str, data: bytes) -> None:
        """Store an image under a given key. Raises StorageUnavailable."""

        def write() -> StorageUnavailable | None:
            path = self._path(key)
            # Of a restore that was killed.
            path.with_name(path.name + UNFINISHED).unlink(missing_ok=True)
            return _write(str(path), data) or _sync(str(path.parent))

        if error := await asyncio.to_thread(write):
            raise error

    async def read(self, key: str) -> bytes:
        """The bytes of an image.

        Raises ImageMissing if it was deleted, StorageUnavailable if the folder has no owner mark, OSError if it cannot
        be read.
        """
        try:
            # One turn of a thread; aiofiles takes three.
            return await asyncio.to_thread(self._path(key).read_bytes)
        except FileNotFoundError as error:
            if await self.owner() is None:
                raise self._owner_missing() from error
            raise ImageMissing from error

    def _owner_missing(self) -> StorageUnavailable:
        if time.monotonic() > self._warned_at + WARNING_INTERVAL:
            self._warned_at = time.monotonic()
            log.warning(STORAGE_NOT_OURS, self.location)
        return StorageUnavailable()

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete images; missing ones are ignored, and failures are logged."""
        for key in keys:
            try:
                await aiofiles.os.remove(self._path(key))
            except FileNotFoundError:
                continue
            except OSError:
                log.exception(IMAGE_NOT_REMOVED, key)

    async def older_than(self, age: timedelta) -> AsyncIterator[list[str]]:
        """Keys of images stored more than ``age`` ago, by folder. Raises StorageUnavailable."""
        before = time.time() - age.total_seconds()
        folders = iter(os.walk(self._folder, onerror=_raise))
        try:
            while folder := await asyncio.to_thread(next, folders, None):
                if keys := await asyncio.to_thread(lambda names: list(self._old(*names, before)), folder[::2]):
                    yield keys
        except OSError as error:
            raise _unavailable(error) from error

    def _old(self, folder: str, names: list[str], before: float) -> Iterator[str]:
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    yield path.relative_to(self._folder).as_posix()

    def _put_all(self, images: Sequence[UnstoredImage]) -> Awaitable[list[str | StorageUnavailable]]:
        return asyncio.to_thread(self._write_all, images)

    def _write_all(self, images: Sequence[UnstoredImage]) -> list[str | StorageUnavailable]:
        # Strings, because each operation on a Path takes as long as the system call.
        root = str(self._folder)
        if not os.path.exists(f"{root}/{OWNER}"):  # noqa: PTH110
            # The shared folder is not mounted: files written now would be hidden or elsewhere once it is.
            return [self._owner_missing()] * len(images)
        keys = [new_key(extension) for _, extension in images]
        folders = [f"{root}/{key.rpartition('/')[0]}" for key in keys]
        errors = [_write(f"{root}/{key}", data) for key, (data, _) in zip(keys, images, strict=True)]
        # Rows that refer to the files survive a power failure, so the folders' entries must too.
        synced = {folder: _sync(folder) for folder in set(folders)}
        return [error or synced[folder] or key for key, folder, error in zip(keys, folders, errors, strict=True)]

    def _path(self, key: str) -> Path:
        relative = PurePosixPath(key)
        # Keys come from our own rows; this check holds even if a row was tampered with.
        if relative.is_absolute() or ".." in relative.parts:
            raise ImageMissing
        return self._folder / relative


def _write(path: str, data: bytes) -> StorageUnavailable | None:
    """Write a file atomically: it gets its name once it is complete."""
    unfinished = path + UNFINISHED
    try:
        try:
            descriptor = _create(unfinished)
        except FileNotFoundError:
            _make_folder(Path(path).parent)
            descriptor = _create(unfinished)
        try:
            left = memoryview(data)
            while left:
                # The last write before the disk is full writes only part of the data.
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
            os.rename(unfinished, path)  # noqa: PTH104
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)  # noqa: PTH108
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        return _unavailable(error, NOT_STORED)
    return None


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(str(folder.parent))


def _sync(folder: str) -> StorageUnavailable | None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return _unavailable(error, NOT_STORED)
    return None


def _raise(error: OSError) -> None:
    raise error


def _unavailable(error: OSError, message: str | None = None) -> StorageUnavailable:
    unavailable = StorageUnavailable(message)
    unavailable.__cause__ = error
    return unavailable
