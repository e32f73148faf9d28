"""The worker processes, on whatever hosts: each announces itself and its models in the database.

Every function raises DatabaseUnavailable while the database is away.
"""

import json
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.db import execute, unavailable_when_away
from app.models.service import ModelRead

ANNOUNCE_SECONDS: Final = 5.0
ALIVE_FOR: Final = timedelta(seconds=15)
"""A worker that has not announced itself for so long is taken for dead."""

_ANNOUNCE: Final = """
WITH forgotten AS (DELETE FROM workers WHERE seen_at < now() - interval '1 day')
INSERT INTO workers (id, name, models, started_at, seen_at) VALUES ($1, $2, $3::jsonb, now(), now())
ON CONFLICT (id) DO UPDATE SET models = EXCLUDED.models, seen_at = now()
"""
# Those of the dead too, the last ones first: what they knew is still asked for when they come back.
_MODELS: Final = "SELECT models, seen_at > now() - $1::interval AS alive FROM workers ORDER BY seen_at DESC LIMIT 1000"


@unavailable_when_away()
async def announce(worker_id: UUID, name: str, models: list[ModelRead]) -> None:
    """Say that a worker is alive, and what it can be asked for."""
    await execute(_ANNOUNCE, [worker_id, name, json.dumps([model.model_dump() for model in models])])


@unavailable_when_away()
async def leave(worker_id: UUID) -> None:
    """Say that a worker takes no further jobs; its models can still be asked for, and wait for the next one."""
    await execute("UPDATE workers SET seen_at = now() - $2::interval WHERE id = $1", [worker_id, ALIVE_FOR])


@unavailable_when_away()
async def count_alive() -> int:
    """How many workers announced themselves lately."""
    (row,) = await execute("SELECT count(*) AS alive FROM workers WHERE seen_at > now() - $1::interval", [ALIVE_FOR])
    return int(row["alive"])


@unavailable_when_away()
async def is_alive(host: str) -> bool:
    """Whether a worker of a host announced itself lately."""
    rows = await execute(
        "SELECT 1 FROM workers WHERE seen_at > now() - $1::interval AND starts_with(name, $2 || ':') LIMIT 1",
        [ALIVE_FOR, host],
    )
    return bool(rows)


@unavailable_when_away()
async def models() -> list[ModelRead]:
    """Models of the workers that are alive, or of the last ones that were; each name once."""
    rows = await execute(_MODELS, [ALIVE_FOR])
    alive = [row for row in rows if row["alive"]] or rows[:1]
    found: dict[str, ModelRead] = {}
    for row in alive:
        for model in json.loads(row["models"]) if isinstance(row["models"], str) else row["models"]:
            read = ModelRead.model_validate(model)
            # A folder that is broken at one worker may be well at another.
            if read.name not in found or (found[read.name].status == "broken" and read.status == "ok"):
                found[read.name] = read
    return list(found.values())
