"""Deletes old predictions with their images: by age (RETENTION_DAYS) or total size (RETENTION_BYTES)."""

import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from app import crud
from app.config import Settings
from app.db import execute, translate_connection_errors
from app.domain import Caller
from app.log_events import RETENTION_REMOVED
from app.repeating import repeating
from app.storage import Storage

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 3600.0
ROWS: Final = 1_000
RETENTION: Final = Caller(None, "retention", frozenset())

# In ID order, which is nearly creation order. Unfinished predictions are kept.
_OLDEST: Final = """
SELECT id, size_bytes, created_at < now() - $3::interval AS expired, status IN ('succeeded', 'failed') AS finished
FROM predictions WHERE id > $1 ORDER BY id LIMIT $2
"""
_FOREVER: Final = timedelta(days=365_000)


@dataclass(frozen=True, slots=True)
class Removed:
    """How much was deleted, or would be."""

    predictions: int
    bytes: int


def run_retention(storage: Storage, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Apply the retention settings every hour while inside. Several processes may do so concurrently."""

    async def step() -> None:
        removed = await retain(storage, settings)
        if removed.predictions:
            log.info(RETENTION_REMOVED, removed.predictions, removed.bytes)

    wanted = settings.retention_days or settings.retention_bytes
    return repeating(step, LOOK_SECONDS if wanted else 0, "Deleting old predictions")


async def retain(storage: Storage, settings: Settings, *, dry_run: bool = False) -> Removed:
    """Delete what exceeds the retention settings; ``dry_run``: only count it.

    Raises DatabaseUnavailable or StorageUnavailable.
    """
    age = timedelta(days=settings.retention_days) if settings.retention_days else _FOREVER
    too_many = await _stored() - settings.retention_bytes if settings.retention_bytes else 0
    count = size = last_id = 0
    while rows := await _oldest(last_id, age):
        chosen = []
        for row in rows:
            if row["finished"] and (row["expired"] or size < too_many):
                chosen.append(row["id"])
                size += row["size_bytes"]
        if chosen and not dry_run:
            deleted = await crud.delete_all(chosen, RETENTION)
            await storage.delete([one.image_path for one in deleted])
        count += len(chosen)
        if not any(row["expired"] for row in rows) and size >= too_many:
            break
        last_id = rows[-1]["id"]
    if settings.retention_days and not dry_run:
        await _forget_tabular(age)
    return Removed(count, size)


@translate_connection_errors()
async def _oldest(last_id: int, age: timedelta) -> list[dict[str, Any]]:
    return await execute(_OLDEST, [last_id, ROWS, age])


@translate_connection_errors()
async def _stored() -> int:
    (row,) = await execute("SELECT coalesce(sum(size_bytes), 0)::bigint AS bytes FROM predictions")
    return int(row["bytes"])


@translate_connection_errors()
async def _forget_tabular(age: timedelta) -> None:
    await execute("DELETE FROM tabular_predictions WHERE created_at < now() - $1::interval", [age])
