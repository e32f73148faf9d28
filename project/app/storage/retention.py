"""Deletes what is old: predictions by age (RETENTION_DAYS) or total size (RETENTION_BYTES), and expired records."""

import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from app.concurrency import repeating
from app.config import Settings
from app.db.crud import audit_log, idempotency, predictions, rate_limits, tabular_predictions
from app.domain import Caller
from app.observability.log_events import RETENTION_REMOVED
from app.storage import Storage
from app.storage.deletion import delete_predictions
from app.storage.renditions import Renditions

log = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 3600.0
PAGE: Final = 1_000
RETENTION: Final = Caller(None, "retention", frozenset())
_FOREVER: Final = timedelta(days=365_000)


@dataclass(frozen=True, slots=True)
class Deleted:
    """How much was deleted, or would be."""

    predictions: int
    bytes: int


def run_retention(storage: Storage, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Apply the retention settings every hour while inside. Several processes may do so concurrently."""

    async def step() -> None:
        deleted = await retain(storage, settings)
        if deleted.predictions:
            log.info(RETENTION_REMOVED, deleted.predictions, deleted.bytes)

    is_limited = settings.retention_days or settings.retention_bytes
    return repeating(step, INTERVAL_SECONDS if is_limited else 0, "Deleting old predictions")


async def retain(storage: Storage, settings: Settings, *, dry_run: bool = False, actor: Caller = RETENTION) -> Deleted:
    """Delete what exceeds the retention settings; ``dry_run``: only count it. ``actor``: who asked for it.

    Raises DatabaseUnavailable or StorageUnavailable.
    """
    age = timedelta(days=settings.retention_days) if settings.retention_days else _FOREVER
    excess = await predictions.stored_bytes() - settings.retention_bytes if settings.retention_bytes else 0
    count = size = last_id = 0
    while rows := await predictions.oldest(last_id, PAGE, age):
        chosen = []
        for row in rows:
            if row["may_go"] and (row["expired"] or size < excess):
                chosen.append(row["id"])
                size += row["size_bytes"]
        if chosen and not dry_run:
            await delete_predictions(storage, Renditions(settings), chosen, actor)
        count += len(chosen)
        if not any(row["expired"] for row in rows) and size >= excess:
            break
        last_id = rows[-1]["id"]
    if settings.retention_days and not dry_run:
        await tabular_predictions.delete_older_than(age)
    deleted = Deleted(count, size)
    if count and not dry_run:
        limits = {"retention_days": settings.retention_days, "retention_bytes": settings.retention_bytes}
        await audit_log.record("retention.applied", actor, details={**asdict(deleted), **limits})
    return deleted


def expire_records() -> AbstractAsyncContextManager[None]:
    """Delete expired idempotency keys and rate-limit counters while inside."""

    async def step() -> None:
        await idempotency.delete_expired()
        await rate_limits.delete_expired()

    return repeating(step, INTERVAL_SECONDS, "Deleting expired idempotency keys")
