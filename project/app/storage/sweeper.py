"""Deletes images without a row, left by uploads whose process died before their row existed."""

import logging
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final

from app import crud, idempotency, ownership, rates
from app.config import Settings
from app.db import execute, translate_connection_errors
from app.log_events import STORAGE_NOT_MARKED, SWEEP_REMOVED
from app.repeating import repeating
from app.storage import Storage, is_key

log = logging.getLogger(__name__)

SPARE: Final = timedelta(hours=1)
"""How much longer than its client's wait an image is kept without a row, whatever the clocks of the hosts say."""
AT_ONCE: Final = 1_000
FORGET_SECONDS: Final = 3600.0
NEARLY: Final = 0.9
"""Each process sweeps on its own schedule; one that comes slightly early need not run again."""

# One process per interval gets the turn.
_TAKE_TURN: Final = """
UPDATE installation SET swept_at = now() WHERE swept_at IS NULL OR swept_at < now() - $1::interval RETURNING id
"""


def safe_age(settings: Settings) -> timedelta:
    """Age above which an image's row cannot still be in progress."""
    return timedelta(seconds=settings.max_wait_seconds) + SPARE


def run_sweeper(storage: Storage, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Sweep every SWEEP_SECONDS while inside; one process at a time."""

    @translate_connection_errors()
    async def step() -> None:
        # A worker that starts before the first web process finds the storage unmarked.
        if await ownership.is_owned(storage) and await execute(
            _TAKE_TURN, [timedelta(seconds=settings.sweep_seconds * NEARLY)]
        ):
            await sweep(storage, safe_age(settings))

    return repeating(step, settings.sweep_seconds, "Deleting images without a prediction")


def expire_records() -> AbstractAsyncContextManager[None]:
    """Delete expired idempotency keys and rate-limit counters while inside."""

    async def step() -> None:
        await idempotency.forget_old()
        await rates.forget_old()

    return repeating(step, FORGET_SECONDS, "Deleting expired idempotency keys")


async def sweep(storage: Storage, age: timedelta) -> int:
    """Delete unreferenced images older than ``age``; returns how many. Skips a storage that is not ours.

    Raises StorageUnavailable or DatabaseUnavailable.
    """
    if not await ownership.is_owned(storage):
        log.warning(STORAGE_NOT_MARKED, storage.place)
        return 0
    removed = 0
    async for keys in storage.older_than(age):
        for start in range(0, len(keys), AT_ONCE):
            # Other files in the storage are not ours.
            ours = [key for key in keys[start : start + AT_ONCE] if is_key(key)]
            unnamed = await crud.unnamed_images(ours)
            if unnamed:
                await storage.delete(unnamed)
                removed += len(unnamed)
    if removed:
        log.info(SWEEP_REMOVED, removed)
    return removed
