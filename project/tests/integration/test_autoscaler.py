"""What KEDA asks the database, see ``deploy/kubernetes/autoscaler.yaml``."""

import re

import asyncpg
import pytest

from app.config import PROJECT_DIR
from app.db import execute
from tests.integration.test_backlog import ROW


@pytest.mark.usefixtures("connected")
async def test_workers_are_scaled_by_the_age_of_what_waits(database_url: str) -> None:
    text = (PROJECT_DIR / "deploy" / "kubernetes" / "autoscaler.yaml").read_text()
    found = re.search(r"query: >-\n\s+(.+)\n", text)
    assert found
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval(found[1]) == 0
        await execute(ROW, ["pending", 2])
        await execute(ROW, ["succeeded", 2])
        await execute("UPDATE predictions SET created_at = now() - id * interval '1 minute'")
        assert 119 < await connection.fetchval(found[1]) < 125
    finally:
        await connection.close()
