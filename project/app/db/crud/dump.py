"""Copies whole tables out of the database and into it, for backups."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import BinaryIO, Final

import asyncpg
from tortoise.exceptions import OperationalError

from app.db.advisory_locks import KEEP_IMAGES, is_held
from app.db.connection import execute, raw_connection
from app.db.errors import translate_connection_errors
from app.db.transactions import transaction
from app.domain import MODEL_NAME, DeliveryStatus, Status, Use

PAGE: Final = 1_000
LOAD_ERRORS: Final = (asyncpg.PostgresError, OperationalError)
"""What ``copy_in`` raises for rows that do not fit the table."""
_INVALID: Final = """
WITH results AS (
    SELECT id, status, confidence, all_predictions FROM predictions
    UNION ALL SELECT prediction_id, status, confidence, all_predictions FROM past_answers
)
SELECT id FROM results
WHERE status <> ALL($1) OR confidence NOT BETWEEN 0 AND 1 OR jsonb_typeof(all_predictions) <> 'array'
    OR all_predictions @? '$[*] ? (@.label.type() != "string" || @.confidence.type() != "number")'
    OR all_predictions @? '$[*] ? (!exists(@.label) || !exists(@.confidence))'
UNION ALL SELECT id FROM predictions
WHERE decision NOT IN ('sure', 'unsure') OR jsonb_typeof(categories) <> 'array'
    OR categories @? '$[*] ? (@.name.type() != "string" || @.confidence.type() != "number")'
    OR categories @? '$[*] ? (!exists(@.name) || !exists(@.confidence))'
    OR content_type NOT LIKE 'image/%' OR width < 1 OR height < 1 OR size_bytes < 0 OR sha256 !~ '^[0-9a-f]{64}$'
UNION ALL SELECT prediction_id FROM deliveries WHERE status <> ALL($2)
UNION ALL SELECT prediction_id FROM examples WHERE use <> ALL($3)
UNION ALL SELECT id FROM custom_models WHERE name !~ $4 OR jsonb_typeof(labels) <> 'array'
UNION ALL SELECT id FROM decision_thresholds WHERE sure_from NOT BETWEEN 0 AND 1 OR jsonb_typeof(labels) <> 'object'
    OR labels @? '$.* ? (@.type() != "number" || @ < 0 || @ > 1)'
UNION ALL SELECT id FROM shadows WHERE share NOT BETWEEN 0 AND 1 OR model !~ $4
UNION ALL SELECT prediction_id FROM shadow_answers
WHERE jsonb_typeof(all_predictions) <> 'array'
    OR all_predictions @? '$[*] ? (@.label.type() != "string" || @.confidence.type() != "number")'
UNION ALL SELECT id FROM trainings
WHERE status <> ALL($1) OR (
    status = 'succeeded'
    AND (head IS NULL OR number IS NULL OR jsonb_typeof(metrics->'accuracy') IS DISTINCT FROM 'number')
)
LIMIT 1
"""
_IS_USED: Final = """
SELECT EXISTS (SELECT FROM predictions) OR EXISTS (SELECT FROM custom_models)
    OR EXISTS (SELECT FROM api_keys WHERE NOT starts_with(public_id, 'env-')) AS used
"""
_IS_KEPT: Final = f"SELECT {is_held(str(KEEP_IMAGES))} AS kept"


@asynccontextmanager
async def snapshot() -> AsyncIterator[None]:
    """A read-only transaction: everything inside is read as of one moment. Raises DatabaseUnavailable."""
    async with transaction():
        await execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


@asynccontextmanager
async def images_kept() -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """While inside, no process deletes images: they stay for the sweeper. Yields a check that this is still so.

    Entered before the snapshot, so that an image is deleted before the snapshot is taken, or not at all.
    """
    async with AsyncExitStack() as stack:
        # Errors of the block, such as a full disk, are none of the database.
        async with translate_connection_errors():
            connection = await stack.enter_async_context(raw_connection())
            await connection.execute("SELECT pg_advisory_lock_shared($1)", KEEP_IMAGES)

        @translate_connection_errors()
        async def check() -> None:
            # The lock ends with its session. Statements now and then also keep the connection open.
            await connection.execute("SELECT 1")

        try:
            yield check
        finally:
            async with translate_connection_errors():
                await connection.execute("SELECT pg_advisory_unlock_shared($1)", KEEP_IMAGES)


@translate_connection_errors()
async def are_images_kept() -> bool:
    """Whether a backup is being made, so that no image may be deleted now."""
    (row,) = await execute(_IS_KEPT)
    return bool(row["kept"])


async def is_empty() -> bool:
    """Whether the database has no predictions, custom models or API keys, except for that of API_KEY."""
    (row,) = await execute(_IS_USED)
    return not row["used"]


async def copy_out(table: str, file: BinaryIO) -> int:
    """Write a table as CSV with a header; returns the number of rows."""
    async with raw_connection() as connection:
        status = await connection.copy_from_table(table, output=file, format="csv", header=True)
    return int(status.split()[-1])


async def copy_in(table: str, file: BinaryIO, columns: list[str]) -> int:
    """Load a CSV with a header into a table; returns the number of rows. New IDs continue after the loaded ones."""
    async with raw_connection() as connection:
        status = await connection.copy_to_table(table, source=file, columns=columns, format="csv", header=True)
    if "id" in columns:
        rows = await execute(f"SELECT coalesce(max(id), 0) AS id FROM {table}")  # noqa: S608 - a name of ours # nosec B608
        await execute("SELECT setval(pg_get_serial_sequence($1, 'id'), $2, false)", [table, rows[0]["id"] + 1])
    return int(status.split()[-1])


async def invalid_rows() -> list[int]:
    """IDs of some predictions with rows that the service never writes and could not show."""
    statuses = [status.value for status in Status]
    values = [statuses, [status.value for status in DeliveryStatus], [use.value for use in Use], MODEL_NAME]
    return [row["id"] for row in await execute(_INVALID, values)]


async def image_paths() -> AsyncIterator[str]:
    """Storage keys of all images, in the order of their predictions."""
    last_id = 0
    while rows := await execute(
        "SELECT id, image_path FROM predictions WHERE id > $1 ORDER BY id LIMIT $2", [last_id, PAGE]
    ):
        for row in rows:
            yield row["image_path"]
        last_id = rows[-1]["id"]
