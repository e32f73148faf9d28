"""Whose images they are: a storage belongs to one database, and is marked with the database's id.

Otherwise a database that is new, or another's, would take every image for one that nobody names, and sweep it away; and
a worker without the folder that all hosts share would take every image for gone.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

from app import crud
from app.db import execute, unavailable_when_away
from app.domain import DatabaseUnavailable, StartupError, StorageUnavailable
from app.repeating import repeating
from app.storage import UNFINISHED, Storage, is_key

ANY_AGE: Final = timedelta(0)


@unavailable_when_away()
async def database_id() -> str:
    """What identifies the database, wherever it is moved to. Raises DatabaseUnavailable."""
    (installation,) = await execute("SELECT id FROM installation")
    return str(installation["id"])


async def is_ours(storage: Storage) -> bool:
    """Whether a storage is marked as this database's. Raises DatabaseUnavailable or StorageUnavailable."""
    return await storage.owner() == await database_id()


@asynccontextmanager
async def owned(storage: Storage, seconds: float) -> AsyncIterator[None]:
    """A storage is marked as this database's while inside; one without tables is looked at every ``seconds`` again.

    Raises StartupError where it is another's, or away.
    """
    if await _has_tables():
        await take(storage)
        yield
        return

    async def take_later() -> None:
        if await _has_tables():
            await take(storage)

    async with repeating(take_later, seconds, "Marking the images as this database's"):
        yield


async def _has_tables() -> bool:
    (found,) = await execute("SELECT to_regclass('installation') IS NOT NULL AS exists")
    return bool(found["exists"])


async def take(storage: Storage) -> None:
    """Mark a storage as this database's, if it is nobody's. Raises StartupError where it is another's, or away."""
    with _told():
        await _take(storage)


async def _take(storage: Storage) -> None:
    mine, owner = await database_id(), await storage.owner()
    if owner == mine:
        return
    if owner is None and await _is_strange(storage):
        raise StartupError(
            f"There are images in {storage.place} that this database does not know. Move them away, use the database "
            "that knows them, or set UPLOADS_DIR or STORAGE_URL to another place."
        )
    if owner is not None:
        raise _another(storage)
    await storage.set_owner(mine)


async def check(storage: Storage) -> None:
    """Raises StartupError where a storage is another database's, or away; it may not be marked yet."""
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
        f"The images in {storage.place} belong to another database. Use that one, or set UPLOADS_DIR or STORAGE_URL to "
        "a place of this one's own."
    )


async def _is_strange(storage: Storage) -> bool:
    """Whether there are images, and of the first ones that are met none is known."""
    async for keys in storage.older_than(ANY_AGE):
        images = [key for key in keys if is_key(key) and not key.endswith(UNFINISHED)]
        if images:
            return len(await crud.unnamed_images(images)) == len(images)
    return False
