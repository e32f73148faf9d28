"""Where uploaded images are kept: files in a folder, under names the server chooses."""

import asyncio
import contextlib
import logging
import os
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import aiofiles.os

from app.domain import ImageMissing, StartupError, StorageUnavailable

log = logging.getLogger(__name__)


class Storage:
    """A folder of images. A key is a relative path such as ``2026/11/21/3f…c2.jpg``; clients have no say in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make the folder. Raises StartupError where it cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise StartupError(
                f"Images cannot be stored in {self._folder}: {error.strerror}. Set UPLOADS_DIR."
            ) from error

    def put_all(self, images: Sequence[tuple[bytes, str]]) -> list[str | StorageUnavailable]:
        """Store images, each with the extension given, and give their keys; they survive a power cut then.

        Blocks: call it from a thread. StorageUnavailable stands for one that the disk, full or not writable, refused.
        """
        keys = [f"{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex}.{extension}" for _, extension in images]
        paths = [self._folder / key for key in keys]
        errors = [_write(path, data) for path, (data, _) in zip(paths, images, strict=True)]
        # The rows that will name the files survive a power cut, so their folders' entries for them have to as well.
        synced = {folder: _sync(folder) for folder in {path.parent for path in paths}}
        return [error or synced[path.parent] or key for key, path, error in zip(keys, paths, errors, strict=True)]

    async def put(self, data: bytes, extension: str) -> str:
        """Store one image. Raises StorageUnavailable."""
        (key,) = await asyncio.to_thread(self.put_all, [(data, extension)])
        if isinstance(key, StorageUnavailable):
            raise key
        return key

    async def read(self, key: str) -> bytes:
        """The bytes of a stored image. Raises ImageMissing where it is gone."""
        try:
            # One turn of a thread; aiofiles takes three.
            return await asyncio.to_thread(self._path(key).read_bytes)
        except FileNotFoundError as error:
            raise ImageMissing from error

    async def delete(self, key: str) -> None:
        """Remove an image; one that is gone already is no error, and one that cannot be removed is only logged."""
        try:
            await aiofiles.os.remove(self._path(key))
        except FileNotFoundError:
            return
        except OSError:
            log.exception("The image %s could not be removed", key)

    def _path(self, key: str) -> Path:
        relative = PurePosixPath(key)
        # Keys come from our own rows; this holds even if a row was tampered with.
        if relative.is_absolute() or ".." in relative.parts:
            raise ImageMissing
        return self._folder / relative


def _write(path: Path, data: bytes) -> StorageUnavailable | None:
    """Write a file to the disk. Nobody sees half of it: no row names it yet."""
    try:
        try:
            descriptor = _create(path)
        except FileNotFoundError:
            _make_folder(path.parent)
            descriptor = _create(path)
        try:
            with open(descriptor, "wb", buffering=0, closefd=False) as file:
                file.write(data)
            os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        return _unavailable(error)
    return None


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> StorageUnavailable | None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return _unavailable(error)
    return None


def _unavailable(error: OSError) -> StorageUnavailable:
    unavailable = StorageUnavailable()
    unavailable.__cause__ = error
    return unavailable
