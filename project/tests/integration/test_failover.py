"""A standby in place of the primary: reading goes on, changes are refused with the reason, until it is promoted."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app import PROJECT_DIR
from app.config import Settings
from app.db.errors import READ_ONLY
from app.db.migrations import migrate
from app.domain import NoWorkerYet
from app.worker.job_queue import install
from tests.integration.conftest import serving
from tests.polling import until
from tests.resilience.cluster import Process
from tests.servers import PostgresServer, running
from tests.uploading import upload

pytestmark = [pytest.mark.process, pytest.mark.slow]

SECONDS = 30


def on(settings: Settings, server: PostgresServer, **changes: Any) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(server.url), "heartbeat_seconds": 1, **changes})


@pytest.fixture
async def standby(tmp_path: Path, settings: Settings) -> AsyncIterator[PostgresServer]:
    """A standby of a primary that is gone; it has one prediction."""
    with running(PostgresServer(tmp_path)) as primary:
        await migrate(primary.url, on(settings, primary))
        await install(primary.url)
        async with serving(on(settings, primary)) as client:
            assert (await upload(client, wait=True)).json()["status"] == "succeeded"
        standby = PostgresServer(tmp_path, standby_of=primary)
    with running(standby):
        yield standby


async def refuses_changes(client: httpx.AsyncClient, *uploads_may_say: str) -> None:
    assert [row["status"] for row in (await client.get("/predictions/")).json()] == ["succeeded"]
    for refused in (
        await upload(client),
        await upload(client, key="one"),
        await client.put("/predictions/1/", json={"top_prediction": "mine", "confidence": 1}),
        await client.delete("/predictions/1/"),
    ):
        assert refused.status_code == 503
        assert refused.json()["detail"] in {READ_ONLY, *uploads_may_say}
        assert refused.headers["Retry-After"]
    ready = await until(lambda: client.get("/ready"), lambda answer: answer.json()["database"] != "ok")
    assert ready.status_code == 503
    assert ready.json()["database"] == READ_ONLY


async def test_service_that_starts_on_a_standby_works_once_it_is_promoted(
    standby: PostgresServer, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(on(settings, standby)) as client:
        await refuses_changes(client)
        standby.promote()
        await until(lambda: client.get("/ready"), lambda answer: answer.status_code == 200)
        assert (await upload(client, wait=True)).json()["status"] == "succeeded"
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


@asynccontextmanager
async def worker(settings: Settings, folder: Path) -> AsyncIterator[Path]:
    """A worker in a process of its own; yields its log."""
    assert settings.database_url
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT_DIR),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "DATA_DIR": str(settings.data_dir),
        "MODELS_DIR": str(settings.models),
        "MODEL": settings.model,
        "QUEUE": "pgqueuer",
    }
    process = Process("worker", ["app", "worker"], environment, folder)
    await asyncio.to_thread(process.start, "Consuming jobs")
    try:
        yield process.log
    finally:
        await asyncio.to_thread(process.stop)


async def test_worker_that_starts_on_a_standby_works_once_it_is_promoted(
    standby: PostgresServer, settings: Settings, tmp_path: Path
) -> None:
    settings = on(settings, standby, queue="pgqueuer")
    async with worker(settings, tmp_path) as log, serving(settings) as client:
        # A worker cannot announce its models yet.
        await refuses_changes(client, str(NoWorkerYet()))
        standby.promote()
        await until(lambda: client.get("/ready"), lambda answer: answer.status_code == 200)
        assert (await upload(client, wait=True)).json()["status"] == "succeeded"
    assert "Traceback" not in log.read_text()
