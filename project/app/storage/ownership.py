"""Ownership of the image storage: each storage belongs to one database and is marked with the database's ID.

Without the mark, a new or different database would consider every image unreferenced and delete it, and a worker
without the shared folder mounted would consider every image missing.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

from app import crud
from app.db import execute, translate_connection_errors
from app.domain import DatabaseUnavailable, StartupError, StorageUnavailable
from app.repeating import repeating
from app.storage import UNFINISHED, Storage, is_key

ANY_AGE: Final = timedelta(0)


@translate_connection_errors()
async def database_id() -> str:
    """The database's ID, which stays the same when it is moved. Raises DatabaseUnavailable."""
    (installation,) = await execute("SELECT id FROM installation")
    return str(installation["id"])


async def is_owned(storage: Storage) -> bool:
    """Whether a storage is marked as this database's. Raises DatabaseUnavailable or StorageUnavailable."""
    return await storage.owner() == await database_id()


@asynccontextmanager
async def claim_storage(storage: Storage, seconds: float) -> AsyncIterator[None]:
    """Mark a storage as this database's; if there are no tables yet, retry every ``seconds`` while inside.

    Raises StartupError if it belongs to another database or is unavailable.
    """
    if await _has_tables():
        await take(storage)
        yield
        return

    async def take_later() -> None:
        if await _has_tables():
            await take(storage)

    async with repeating(take_later, seconds, "Marking the image storage as this database's"):
        yield


async def _has_tables() -> bool:
    (found,) = await execute("SELECT to_regclass('installation') IS NOT NULL AS exists")
    return bool(found["exists"])


async def take(storage: Storage) -> None:
    """Mark an unowned storage as this database's. Raises StartupError if it is another's or unavailable."""
    with _told():
        await _take(storage)


async def _take(storage: Storage) -> None:
    mine, owner = await database_id(), await storage.owner()
    if owner == mine:
        return
    if owner is None and await _is_foreign(storage):
        raise StartupError(
            f"{storage.place} contains images that are unknown to this database. Move them away, use their "
            "database, or set UPLOADS_DIR or STORAGE_URL to another location."
        )
    if owner is not None:
        raise _another(storage)
    await storage.set_owner(mine)


async def check(storage: Storage) -> None:
    """Raises StartupError if a storage belongs to another database or is unavailable; it may still be unmarked."""
    with _told():
        owner = await storage.owner()
        if owner is not None and owner != await database_id():
            raise _another(storage)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (DatabaseUnavailable, StorageUnavailable) as error:
        raise StartupError(error.message) from error


def _another(storage: Storage) -> StartupError:
    return StartupError(
        f"The images in {storage.place} belong to another database. Use that database, or set UPLOADS_DIR or "
        "STORAGE_URL to another location."
    )


async def _is_foreign(storage: Storage) -> bool:
    """Whether there are images, none of which (of the first ones found) is known to the database."""
    async for keys in storage.older_than(ANY_AGE):
        images = [key for key in keys if is_key(key) and not key.endswith(UNFINISHED)]
        if images:
            return len(await crud.unnamed_images(images)) == len(images)
    return False
