"""Ownership of the image storage: each storage belongs to one database and is marked with the database's ID.

Without the mark, a new or different database would consider every image unreferenced and delete it, and a worker
without the shared folder mounted would consider every image missing.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

from app.concurrency import repeating
from app.config import Settings
from app.db.connection import when_available
from app.db.crud import installation, predictions
from app.domain import StartupError, StorageUnavailable
from app.storage import Storage
from app.storage.keys import UNFINISHED, is_key

ANY_AGE: Final = timedelta(0)


async def is_owned(storage: Storage) -> bool:
    """Whether a storage is marked as this database's. Raises DatabaseUnavailable or StorageUnavailable."""
    return await storage.owner() == await installation.database_id()


@asynccontextmanager
async def claim_storage(storage: Storage, settings: Settings) -> AsyncIterator[None]:
    """Mark a storage as this database's; if there are no tables yet, try again repeatedly while inside.

    Raises StartupError if it belongs to another database or is unavailable; DatabaseUnavailable.
    """

    async def claim_if_possible() -> bool:
        if has_tables := await installation.has_tables():
            await claim(storage)
        return has_tables

    if await when_available(claim_if_possible, settings.database_wait_seconds):
        yield
        return
    task = "Marking the image storage as this database's"
    async with repeating(claim_if_possible, settings.recover_seconds, task):
        yield


async def claim(storage: Storage) -> None:
    """Mark an unowned storage as this database's.

    Raises StartupError if it is another's or unavailable, or DatabaseUnavailable.
    """
    with _startup_errors():
        database_id, owner = await installation.database_id(), await storage.owner()
        if owner == database_id:
            return
        if owner is not None:
            raise _foreign(storage)
        if await _is_foreign(storage):
            raise StartupError(
                f"{storage.location} contains images that are unknown to this database. Move them away, use their "
                "database, or set UPLOADS_DIR or STORAGE_URL to another location."
            )
        await storage.set_owner(database_id)


async def check(storage: Storage) -> None:
    """Raises StartupError if a storage belongs to another database or is unavailable; it may still be unmarked.

    Raises DatabaseUnavailable.
    """
    with _startup_errors():
        owner = await storage.owner()
        if owner is not None and owner != await installation.database_id():
            raise _foreign(storage)


@contextmanager
def _startup_errors() -> Iterator[None]:
    try:
        yield
    except StorageUnavailable as error:
        raise StartupError(error.message) from error


def _foreign(storage: Storage) -> StartupError:
    return StartupError(
        f"The images in {storage.location} belong to another database. Use that database, or set UPLOADS_DIR or "
        "STORAGE_URL to another location."
    )


async def _is_foreign(storage: Storage) -> bool:
    """Whether there are images, none of which (of the first ones found) is known to the database."""
    async for keys in storage.older_than(ANY_AGE):
        images = [key for key in keys if is_key(key) and not key.endswith(UNFINISHED)]
        if images:
            return len(await predictions.unreferenced_images(images)) == len(images)
    return False
