"""Worker processes: each announces itself and its models in the database.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

import json
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.db import execute, translate_connection_errors
from app.models.service import ModelRead

ANNOUNCE_SECONDS: Final = 5.0
ALIVE_FOR: Final = timedelta(seconds=15)
"""A worker without a heartbeat for this long is considered dead."""

_ANNOUNCE: Final = """
WITH forgotten AS (DELETE FROM workers WHERE seen_at < now() - interval '1 day')
INSERT INTO workers (id, name, models, started_at, seen_at) VALUES ($1, $2, $3::jsonb, now(), now())
ON CONFLICT (id) DO UPDATE SET models = EXCLUDED.models, seen_at = now()
"""
# Includes dead workers, newest first: their models stay available to requests until they come back.
_MODELS: Final = "SELECT models, seen_at > now() - $1::interval AS alive FROM workers ORDER BY seen_at DESC LIMIT 1000"


@translate_connection_errors()
async def announce(worker_id: UUID, name: str, models: list[ModelRead]) -> None:
    """Record a worker's heartbeat and its models."""
    await execute(_ANNOUNCE, [worker_id, name, json.dumps([model.model_dump() for model in models])])


@translate_connection_errors()
async def leave(worker_id: UUID) -> None:
    """Mark a worker as stopped; its models stay available and wait for the next worker."""
    await execute("UPDATE workers SET seen_at = now() - $2::interval WHERE id = $1", [worker_id, ALIVE_FOR])


@translate_connection_errors()
async def count_alive() -> int:
    """Number of live workers."""
    (row,) = await execute("SELECT count(*) AS alive FROM workers WHERE seen_at > now() - $1::interval", [ALIVE_FOR])
    return int(row["alive"])


@translate_connection_errors()
async def is_alive(host: str) -> bool:
    """Whether a live worker runs on ``host``."""
    rows = await execute(
        "SELECT 1 FROM workers WHERE seen_at > now() - $1::interval AND starts_with(name, $2 || ':') LIMIT 1",
        [ALIVE_FOR, host],
    )
    return bool(rows)


@translate_connection_errors()
async def models() -> list[ModelRead]:
    """Models of the live workers, or else of the last one; each name once."""
    rows = await execute(_MODELS, [ALIVE_FOR])
    alive = [row for row in rows if row["alive"]] or rows[:1]
    found: dict[str, ModelRead] = {}
    for row in alive:
        for model in json.loads(row["models"]) if isinstance(row["models"], str) else row["models"]:
            read = ModelRead.model_validate(model)
            # A model may be broken on one worker and fine on another.
            if read.name not in found or (found[read.name].status == "broken" and read.status == "ok"):
                found[read.name] = read
    return list(found.values())
