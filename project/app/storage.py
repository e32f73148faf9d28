"""Where uploaded images are kept: files in a folder, under names the server chooses."""

import asyncio
import contextlib
import logging
import os
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import aiofiles
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

    async def put(self, data: bytes, extension: str) -> str:
        """Store an image and give its key. It appears whole or not at all.

        Raises StorageUnavailable where the disk is full or not writable.
        """
        key = f"{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex}.{extension}"
        path = self._folder / key
        part = path.with_suffix(".part")
        try:
            await asyncio.to_thread(_make_folder, path.parent)
            try:
                async with aiofiles.open(part, "wb") as file:
                    await file.write(data)
                await asyncio.to_thread(_publish, part, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    part.unlink()
                raise
        except OSError as error:
            raise StorageUnavailable from error
        return key

    async def read(self, key: str) -> bytes:
        """The bytes of a stored image. Raises ImageMissing where it is gone."""
        try:
            async with aiofiles.open(self._path(key), "rb") as file:
                return await file.read()
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


# The row that will name the file survives a power cut, so the file and its folder's entry for it have to as well.


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _publish(part: Path, path: Path) -> None:
    """Give a complete file its name: nobody sees half of it."""
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
