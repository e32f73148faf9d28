"""Images in an S3-compatible store, which every host can read."""

import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from app.domain import ImageMissing, StartupError, StorageUnavailable
from app.observability.log_events import IMAGES_NOT_REMOVED
from app.storage.keys import OWNER, new_key

log = logging.getLogger(__name__)

# A put succeeds within these limits, or the client is asked to retry.
RETRIES: Final = 3
RETRY_SECONDS: Final = timedelta(seconds=15)
TIMEOUT: Final = timedelta(seconds=10)
CONNECT_TIMEOUT: Final = timedelta(seconds=3)
MAX_LISTED: Final = 1_000


class S3Storage:
    """Stores images in a bucket or under a prefix of one. ``AWS_…`` variables set credentials, region and endpoint."""

    def __init__(self, url: str) -> None:
        """``url``: ``s3://bucket/prefix``."""
        self._url = url
        self._store = S3Store.from_url(
            url,
            # Plain HTTP only where the endpoint says so.
            client_options={"allow_http": True, "timeout": TIMEOUT, "connect_timeout": CONNECT_TIMEOUT},
            retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_SECONDS},
        )

    @property
    def location(self) -> str:
        """The storage's URL."""
        return self._url

    async def owner(self) -> str | None:
        """The owner mark; None if there is none. Raises StorageUnavailable."""
        try:
            return (await self._get(OWNER)).decode()
        except FileNotFoundError:
            return None

    async def set_owner(self, owner: str) -> None:
        """Set the owner mark. Raises StorageUnavailable."""
        try:
            await obstore.put_async(self._store, OWNER, owner.encode())
        except (BaseError, OSError) as error:
            raise StorageUnavailable from error

    async def prepare(self) -> None:
        """Store and delete a probe. Raises StartupError if that fails."""
        try:
            key = new_key("probe")
            await obstore.put_async(self._store, key, b"")
            await obstore.delete_async(self._store, key)
        except (BaseError, OSError) as error:
            raise StartupError(
                f"Images cannot be stored in {self._url}: {_first_line(error)} "
                "Check STORAGE_URL, AWS_ENDPOINT_URL and the credentials."
            ) from error

    async def put(self, data: bytes, extension: str) -> str:
        """Store an image. Raises StorageUnavailable."""
        key = new_key(extension)
        await self.put_at(key, data)
        return key

    async def check_room(self) -> None:
        """Buckets have no limit that can be asked for."""

    async def put_at(self, key: str, data: bytes) -> None:
        """Store an image under a given key. Raises StorageUnavailable."""
        try:
            # Objects appear atomically. No multipart upload: interrupted ones leave parts that listings do not show.
            await obstore.put_async(self._store, key, data, use_multipart=False)
        except (BaseError, OSError) as error:
            raise StorageUnavailable from error

    async def read(self, key: str) -> bytes:
        """The bytes of an image. Raises ImageMissing if it was deleted, StorageUnavailable if that is unknown."""
        try:
            return await self._get(key)
        except FileNotFoundError as error:
            raise (StorageUnavailable if await self.owner() is None else ImageMissing) from error

    async def _get(self, key: str) -> bytes:
        """Raises FileNotFoundError, or StorageUnavailable."""
        try:
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            raise StorageUnavailable from error

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete images; missing ones are ignored, and failures are logged."""
        try:
            await obstore.delete_async(self._store, list(keys))
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            log.error(IMAGES_NOT_REMOVED, _first_line(error), ", ".join(keys))  # noqa: TRY400 - pages long

    async def older_than(self, age: timedelta) -> AsyncIterator[list[str]]:
        """Keys of images stored more than ``age`` ago, in groups of a thousand. Raises StorageUnavailable."""
        before = datetime.now(UTC) - age
        try:
            async for objects in obstore.list(self._store, chunk_size=MAX_LISTED):
                if keys := [found["path"] for found in objects if found["last_modified"] < before]:
                    yield keys
        except (BaseError, OSError) as error:
            raise StorageUnavailable from error


def _first_line(error: Exception) -> str:
    """The message of an obstore error without the details that follow."""
    return str(error).strip().split("\n", 1)[0].removesuffix(".") + "."
