"""Removing images that no row names: what is left of uploads whose process died before the row was there."""

import logging
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final

from app import crud, idempotency, ownership, rates
from app.config import Settings
from app.db import execute, unavailable_when_away
from app.log_events import STORAGE_NOT_MARKED, SWEEP_REMOVED
from app.repeating import repeating
from app.storage import Storage, is_key

log = logging.getLogger(__name__)

SPARE: Final = timedelta(hours=1)
"""An image waits for its row as long as its client does; and so much longer, whatever the clocks of the hosts say."""
AT_ONCE: Final = 1_000
FORGET_SECONDS: Final = 3600.0
NEARLY: Final = 0.9
"""Processes look as often as they sweep, each at its own time; one that comes a little early need not come again."""

# Whoever comes first when it is due does it, for all processes.
_TAKE_TURN: Final = """
UPDATE installation SET swept_at = now() WHERE swept_at IS NULL OR swept_at < now() - $1::interval RETURNING id
"""


def safe_age(settings: Settings) -> timedelta:
    """How old an image has to be, that its row cannot be on its way."""
    return timedelta(seconds=settings.max_wait_seconds) + SPARE


def sweeping(storage: Storage, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Sweep every SWEEP_SECONDS while inside; of any number of processes, one at a time."""

    @unavailable_when_away()
    async def step() -> None:
        # A worker that is there before the first web process finds it without a mark.
        if await ownership.is_ours(storage) and await execute(
            _TAKE_TURN, [timedelta(seconds=settings.sweep_seconds * NEARLY)]
        ):
            await sweep(storage, safe_age(settings))

    return repeating(step, settings.sweep_seconds, "Removing images that no prediction names")


def forgetting() -> AbstractAsyncContextManager[None]:
    """Idempotency keys, and what was counted for rate limits, are removed while inside when they are old enough."""

    async def step() -> None:
        await idempotency.forget_old()
        await rates.forget_old()

    return repeating(step, FORGET_SECONDS, "Removing old idempotency keys")


async def sweep(storage: Storage, age: timedelta) -> int:
    """Remove the images without a row that are older; gives how many. A storage that is not ours is left alone.

    Raises StorageUnavailable or DatabaseUnavailable.
    """
    if not await ownership.is_ours(storage):
        log.warning(STORAGE_NOT_MARKED, storage.place)
        return 0
    removed = 0
    async for keys in storage.older_than(age):
        for start in range(0, len(keys), AT_ONCE):
            # What lies there besides is somebody else's.
            ours = [key for key in keys[start : start + AT_ONCE] if is_key(key)]
            unnamed = await crud.unnamed_images(ours)
            if unnamed:
                await storage.delete(unnamed)
                removed += len(unnamed)
    if removed:
        log.info(SWEEP_REMOVED, removed)
    return removed
