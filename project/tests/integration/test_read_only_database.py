"""A database that refuses to write: requests get the reason, and the service recovers by itself."""

import asyncio

import httpx
import pytest

from app.config import Settings
from app.db.errors import READ_ONLY
from tests.integration.conftest import execute, serving
from tests.uploading import upload

pytestmark = pytest.mark.process

SECONDS = 20


def name_of(url: str) -> str:
    return url.rpartition("/")[2].partition("?")[0]


def disconnect_all(url: str) -> str:
    """Ends the connections of a database, whose new ones have its new settings."""
    others = f"datname = '{name_of(url)}' AND pid <> pg_backend_pid()"
    return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"  # noqa: S608 - the test's own


async def test_read_only_database_is_named_and_recovered_from(
    settings: Settings, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = name_of(database_url)
    async with serving(settings) as client:
        assert (await upload(client, wait=True)).json()["status"] == "succeeded"
        await execute(
            database_url,
            f'ALTER DATABASE "{name}" SET default_transaction_read_only = on',
            disconnect_all(database_url),
        )
        await ends_with(client, 503)
        refused = await upload(client)
        assert refused.json()["detail"] == READ_ONLY
        assert refused.headers["Retry-After"]
        assert (await client.get("/predictions/")).status_code == 200
        assert (
            await client.put("/predictions/1/", json={"top_prediction": "mine", "confidence": 1})
        ).status_code == 503
        async with asyncio.timeout(SECONDS):
            while (ready := await client.get("/ready")).status_code == 200:
                await asyncio.sleep(0.1)
        assert ready.json()["database"] == READ_ONLY
        await execute(
            database_url,
            "SET default_transaction_read_only = off",
            f'ALTER DATABASE "{name}" RESET default_transaction_read_only',
            disconnect_all(database_url),
        )
        await ends_with(client, 201)
        async with asyncio.timeout(SECONDS):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.1)
        assert (await upload(client, wait=True)).json()["status"] == "succeeded"
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


async def ends_with(client: httpx.AsyncClient, status: int) -> None:
    """Upload until the status is this one; until then, connections may break."""
    async with asyncio.timeout(SECONDS):
        while (await upload(client)).status_code != status:
            await asyncio.sleep(0.05)
