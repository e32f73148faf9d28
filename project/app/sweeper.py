"""Removing images that no row names: what is left of uploads whose process died before the row was there."""

import logging
import re
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final

from app import crud, idempotency
from app.config import Settings
from app.db import own_connection, unavailable_when_away
from app.repeating import repeating
from app.storage import Storage

log = logging.getLogger(__name__)

SPARE: Final = timedelta(hours=1)
"""An image waits for its row as long as its client does; and so much longer, whatever the clocks of the hosts say."""
AT_ONCE: Final = 1_000
OURS: Final = re.compile(r"\d{4}/\d{2}/\d{2}/[0-9a-f]{32}\.[a-z0-9]+(\.part)?")
FORGET_SECONDS: Final = 3600.0
_LOCK: Final = 8004_2029


def safe_age(settings: Settings) -> timedelta:
    """How old an image has to be, that its row cannot be on its way."""
    return timedelta(seconds=settings.max_wait_seconds) + SPARE


def sweeping(url: str, storage: Storage, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Sweep at the start and every SWEEP_SECONDS while inside, unless another process is at it."""

    @unavailable_when_away()
    async def step() -> None:
        async with own_connection(url) as connection:
            # The lock ends with the connection.
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                await sweep(storage, safe_age(settings))

    return repeating(step, settings.sweep_seconds, "Removing images that no prediction names")


def forgetting() -> AbstractAsyncContextManager[None]:
    """Idempotency keys that were kept for long enough are removed while inside."""
    return repeating(idempotency.forget_old, FORGET_SECONDS, "Removing old idempotency keys")


async def sweep(storage: Storage, age: timedelta) -> int:
    """Remove the images without a row that are older; gives how many.

    Raises StorageUnavailable or DatabaseUnavailable.
    """
    removed = 0
    async for keys in storage.older_than(age):
        for start in range(0, len(keys), AT_ONCE):
            # What lies there besides is somebody else's.
            ours = [key for key in keys[start : start + AT_ONCE] if OURS.fullmatch(key)]
            unnamed = await crud.unnamed_images(ours)
            if unnamed:
                await storage.delete(unnamed)
                removed += len(unnamed)
    if removed:
        log.info("Removed %d images that no prediction names", removed)
    return removed
