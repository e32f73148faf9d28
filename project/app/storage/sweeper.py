"""Deletes images without a row, left by uploads whose process died before their row existed."""

import logging
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final

from app.concurrency import repeating
from app.config import Settings
from app.db.crud import dump, installation, predictions
from app.observability.log_events import STORAGE_NOT_MARKED, SWEEP_REMOVED
from app.storage import Storage, ownership
from app.storage.keys import is_key

log = logging.getLogger(__name__)

GRACE_PERIOD: Final = timedelta(hours=1)
"""How much longer than its client's wait an image is kept without a row, because the clocks of hosts differ."""
MAX_CHECKED: Final = 1_000
"""Images whose rows are looked up in one statement."""
TURN_FRACTION: Final = 0.9
"""Part of the interval after which a sweep is due: every process tries on its own schedule, slightly early or late."""


def safe_age(settings: Settings) -> timedelta:
    """Age above which an image's row cannot still be in progress."""
    return timedelta(seconds=settings.max_wait_seconds) + GRACE_PERIOD


def run_sweeper(storage: Storage, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Sweep every SWEEP_SECONDS while inside; one process at a time."""
    interval = timedelta(seconds=settings.sweep_seconds * TURN_FRACTION)

    async def step() -> None:
        # A worker that starts before the first web process finds the storage unmarked.
        if await ownership.is_owned(storage) and await installation.take_sweep(interval):
            await sweep(storage, safe_age(settings))

    return repeating(step, settings.sweep_seconds, "Deleting images without a prediction")


async def sweep(storage: Storage, age: timedelta) -> int:
    """Delete unreferenced images older than ``age``; returns how many. During a backup, none is deleted.

    Raises StorageUnavailable or DatabaseUnavailable.
    """
    if not await ownership.is_owned(storage):
        log.warning(STORAGE_NOT_MARKED, storage.location)
        return 0
    deleted = 0
    async for keys in storage.older_than(age):
        for start in range(0, len(keys), MAX_CHECKED):
            # Other files in the storage are not ours.
            images = [key for key in keys[start : start + MAX_CHECKED] if is_key(key)]
            unreferenced = await predictions.unreferenced_images(images)
            if unreferenced and not await dump.are_images_kept():
                await storage.delete(unreferenced)
                deleted += len(unreferenced)
    if deleted:
        log.info(SWEEP_REMOVED, deleted)
    return deleted
