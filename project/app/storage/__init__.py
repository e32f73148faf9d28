"""Image storage: a folder or an S3-compatible store. The server chooses the keys."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Protocol

from app.config import Settings


class Storage(Protocol):
    """Stores images by key, a relative path such as ``2026/11/21/3f…c2.jpg`` that clients cannot influence.

    Readers never see partial images, and stored images survive a power failure.
    """

    @property
    def location(self) -> str:
        """Location to show to people."""

    async def prepare(self) -> None:
        """Check that images can be stored. Raises StartupError."""

    async def owner(self) -> str | None:
        """The owner mark; None if there is none. Raises StorageUnavailable."""

    async def set_owner(self, owner: str) -> None:
        """Set the owner mark. Raises StorageUnavailable."""

    async def check_room(self) -> None:
        """Check that there is room for another image, as far as that is known. Raises StorageUnavailable."""

    async def put(self, data: bytes, extension: str) -> str:
        """Store an image and return its key. Raises StorageUnavailable."""

    async def put_at(self, key: str, data: bytes) -> None:
        """Store an image under a given key, for a restore. Raises StorageUnavailable."""

    async def read(self, key: str) -> bytes:
        """The bytes of an image.

        Raises ImageMissing if it was deleted; StorageUnavailable while the storage is unavailable or has no owner mark,
        because then it is not the original storage; OSError for a broken disk.
        """

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete images; missing ones are ignored, and failures are logged."""

    def older_than(self, age: timedelta) -> AsyncIterator[list[str]]:
        """Keys of images stored more than ``age`` ago, in groups. Raises StorageUnavailable."""


def make_storage(settings: Settings) -> Storage:
    """The storage from the settings: an S3-compatible store (STORAGE_URL) or a folder."""
    if settings.storage_url:
        from app.storage.s3 import S3Storage

        return S3Storage(settings.storage_url)
    from app.storage.folder import FolderStorage

    return FolderStorage(settings.uploads)
