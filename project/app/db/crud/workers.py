"""Worker processes: each announces itself and its models in the database.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

import json
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.db.connection import execute
from app.db.errors import translate_connection_errors
from app.models.pydantic_system import ModelRead

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
async def mark_stopped(worker_id: UUID) -> None:
    """Mark a worker as stopped; its models stay available and wait for the next worker."""
    await execute("UPDATE workers SET seen_at = now() - $2::interval WHERE id = $1", [worker_id, ALIVE_FOR])


@translate_connection_errors()
async def count_alive() -> int:
    """Number of live workers."""
    (row,) = await execute("SELECT count(*) AS alive FROM workers WHERE seen_at > now() - $1::interval", [ALIVE_FOR])
    return int(row["alive"])


@translate_connection_errors()
async def is_alive_on(host: str) -> bool:
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
    by_name: dict[str, ModelRead] = {}
    for row in alive:
        for model in json.loads(row["models"]) if isinstance(row["models"], str) else row["models"]:
            read = ModelRead.model_validate(model)
            # A model may be broken on one worker and fine on another.
            if read.name not in by_name or (by_name[read.name].status == "broken" and read.status == "ok"):
                by_name[read.name] = read
    return list(by_name.values())


# Recently dead workers too, so that a dashboard shows when a heartbeat stopped.
_HEARTBEATS: Final = """
SELECT name, extract(epoch from now() - seen_at)::float8 AS age FROM workers
WHERE seen_at > now() - interval '10 minutes'
"""


@translate_connection_errors()
async def heartbeat_ages() -> list[tuple[str, float]]:
    """Name and seconds since the last heartbeat of each worker seen in the last ten minutes."""
    return [(row["name"], row["age"]) for row in await execute(_HEARTBEATS)]
