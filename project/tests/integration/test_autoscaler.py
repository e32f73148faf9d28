"""The query of KEDA in ``deploy/kubernetes/autoscaler.yaml``."""

import re

import asyncpg
import pytest

from app import PROJECT_DIR
from app.db.connection import execute
from app.worker import job_queue
from tests.integration.rows import ROW


@pytest.mark.usefixtures("connected")
async def test_autoscaler_query_returns_the_age_of_the_oldest_job(database_url: str) -> None:
    text = (PROJECT_DIR / "deploy" / "kubernetes" / "autoscaler.yaml").read_text()
    found = re.search(r"query: >-\n\s+(.+)\n", text)
    assert found
    connection = await asyncpg.connect(database_url)
    try:
        await job_queue.install(database_url)
        assert await connection.fetchval(found[1]) == 0
        # Of a prediction that is a week old, and classified again now.
        await execute(ROW, ["pending", 2])
        await execute("UPDATE predictions SET created_at = now() - interval '7 days'")
        await job_queue.enqueue([1, 2])
        assert await connection.fetchval(found[1]) < 5
        await execute("UPDATE pgqueuer SET created = now() - interval '1 minute'")
        await job_queue.enqueue([3], "deliver")
        await execute("UPDATE pgqueuer SET created = now() - interval '1 hour' WHERE entrypoint = 'deliver'")
        assert 60 <= await connection.fetchval(found[1]) < 65
        await execute("UPDATE pgqueuer SET status = 'picked'")
        assert await connection.fetchval(found[1]) == 0
    finally:
        await connection.close()
