"""Where uploaded images are kept: in a folder, or where every host can read them. The server chooses their names."""

import re
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from app.config import Settings

OWNER: Final = ".owner"
"""Name of the mark."""
UNFINISHED: Final = ".part"
"""Ending of a file that is being written; after a power cut it may stay."""
_KEY: Final = re.compile(r"\d{4}/\d{2}/\d{2}/[0-9a-f]{32}\.[a-z0-9]+(\.part)?")


class Storage(Protocol):
    """A place for images. A key is a relative path such as ``2026/11/21/3f…c2.jpg``; clients have no say in it.

    Nobody ever sees half an image, and one that was put survives a power cut.
    """

    @property
    def place(self) -> str:
        """Where it is, for people."""

    async def prepare(self) -> None:
        """Make it ready. Raises StartupError where images cannot be stored there."""

    async def owner(self) -> str | None:
        """What it was marked with; None where it was not. Raises StorageUnavailable."""

    async def set_owner(self, owner: str) -> None:
        """Mark it. Raises StorageUnavailable."""

    async def put(self, data: bytes, extension: str) -> str:
        """Store one image and give its key. Raises StorageUnavailable."""

    async def put_back(self, key: str, data: bytes) -> None:
        """Store an image under the key that it had before (in a backup). Raises StorageUnavailable."""

    async def read(self, key: str) -> bytes:
        """The bytes of an image.

        Raises ImageMissing where it is gone, StorageUnavailable while the store is away, or where it is not
        marked: then it is not the one that images were stored in. OSError for a broken disk.
        """

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove images; those that are gone already are no error, and those that cannot be removed are only logged."""

    def older_than(self, age: timedelta) -> AsyncIterator[list[str]]:
        """Keys of all images that were stored so long ago, some at a time. Raises StorageUnavailable."""


def make_storage(settings: Settings) -> Storage:
    """The storage that the settings name: an S3-compatible one (STORAGE_URL), or a folder."""
    if settings.storage_url:
        from app.storage.objects import ObjectStorage

        return ObjectStorage(settings.storage_url)
    from app.storage.folder import FolderStorage

    return FolderStorage(settings.uploads)


def is_key(text: str) -> bool:
    """Whether a storage could have given this key."""
    return _KEY.fullmatch(text) is not None


def new_key(extension: str) -> str:
    """A key that was never given before."""
    return f"{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex}.{extension}"
