"""The job queue on a real PostgreSQL: enqueued jobs, workers and recovery."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from app.classifier.engine.process import Engine
from app.config import Settings
from app.db.advisory_locks import RECONCILE_JOBS
from app.db.connection import dedicated_connection, execute
from app.db.crud import claims, predictions, workers
from app.domain import Claim, DatabaseUnavailable, Status
from app.models.pydantic_system import ModelRead
from app.storage.folder import FolderStorage
from app.worker import job_queue
from app.worker.custom_models import CustomModels
from app.worker.model_settings import ModelSettings
from app.worker.worker import Worker
from tests.integration.conftest import processes, serving, uploaded_files
from tests.integration.worker.rows import FakeEngine, finished
from tests.pictures import jpeg
from tests.uploading import WAIT, upload

pytestmark = pytest.mark.process

MODEL = ModelRead(name="remote", status="ok", kind="image", version="7", default=True)
OTHER = ModelRead(name="other", status="ok", kind="image", version="8")


@pytest.fixture
async def settings(settings: Settings, database_url: str, tmp_path: Path) -> Settings:
    await job_queue.install(database_url)
    # No model anywhere near the web process.
    return settings.model_copy(
        update={"queue": "pgqueuer", "models_dir": tmp_path / "nothing", "recover_seconds": 0.2, "max_wait_seconds": 30}
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A web process that knows a worker's models, while no worker takes jobs."""
    async with serving(settings) as client:
        await workers.announce(uuid.uuid4(), "test", [MODEL, OTHER])
        yield client


@asynccontextmanager
async def taking_jobs(settings: Settings, fake: FakeEngine) -> AsyncIterator[Worker]:
    """A worker with a fake model, in this process."""
    storage = FolderStorage(settings.uploads)
    worker = Worker(
        cast(Engine, fake), storage, settings.retry_policy, 2, CustomModels(), ModelSettings(), from_queue=True
    )
    assert settings.database_url
    url = settings.database_url.get_secret_value()
    jobs = job_queue.JobConsumer(
        url, job_queue.CLASSIFY, worker.run_job, max_jobs=64, heartbeat=1, poll=settings.recover_seconds
    )
    stop = asyncio.Event()
    task = asyncio.create_task(jobs.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await task


async def jobs() -> list[tuple[str, str]]:
    rows = await execute("SELECT status::text, convert_from(payload, 'UTF8') AS id FROM pgqueuer ORDER BY id")
    return [(row["status"], row["id"]) for row in rows]


async def test_web_process_needs_no_model_and_loads_none(client: httpx.AsyncClient, settings: Settings) -> None:
    assert not settings.models.exists()
    assert processes() == []
    answer = await upload(client)
    row = answer.json()
    assert answer.status_code == 201
    assert row["status"] == "pending"
    assert row["model"] == "remote"
    assert row["model_version"] == "7"
    assert await jobs() == [("queued", str(row["id"]))]
    message = (await client.get("/models")).json()
    assert [(model["name"], model["default"]) for model in message] == [("remote", True), ("other", False)]
    assert (await client.get("/info")).json()["models"] == ["remote", "other"]
    # Images can be looked at all the same.
    assert (await client.get(f"/predictions/{row['id']}/image/")).headers["content-type"] == "image/jpeg"
    (engine,) = processes()
    assert not [mapped.path for mapped in engine.memory_maps() if mapped.path.endswith((".tflite", ".onnx"))]


async def test_waiting_client_gets_the_result_of_a_worker(client: httpx.AsyncClient, settings: Settings) -> None:
    async with taking_jobs(settings, FakeEngine()):
        answer = await upload(client, wait=True)
        row = answer.json()
        assert answer.status_code == 201
        assert row["status"] == "succeeded"
        assert row["attempts"] == 1
        assert answer.headers["preference-applied"] == "wait=30"
        again = await client.post(f"/predictions/{row['id']}/reclassify", json={"model": "other"}, headers=WAIT)
        assert again.status_code == 202
        assert again.json()["status"] == "succeeded"
        assert len((await client.get(f"/predictions/{row['id']}/history")).json()) == 1


async def test_wait_ends_with_the_current_state(client: httpx.AsyncClient) -> None:
    answer = await upload(client, Prefer="wait=1")
    assert answer.status_code == 201
    assert answer.json()["status"] == "pending"


async def test_prediction_deleted_during_a_wait_is_returned_as_it_was(client: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(upload(client, wait=True))
    while not (found := await jobs()):
        await asyncio.sleep(0.02)
    assert (await client.delete(f"/predictions/{found[0][1]}/")).status_code == 200
    async with asyncio.timeout(10):
        answer = await waiting
    assert answer.status_code == 201
    assert answer.json()["status"] == "pending"


@pytest.mark.parametrize("error", [DatabaseUnavailable(), RuntimeError("a mistake of ours")])
async def test_row_is_not_created_without_its_job(
    client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("app.worker.job_queue.enqueue", fail)
    assert (await upload(client)).status_code in {500, 503}
    assert await execute("SELECT 1 FROM predictions") == []
    assert uploaded_files(settings) == []


async def test_uploads_are_503_before_the_first_worker_starts(settings: Settings) -> None:
    async with serving(settings) as client:
        answer = await upload(client)
        assert answer.status_code == 503
        assert answer.json()["code"] == "no_worker_yet"
        assert "start `./classifier worker`" in answer.json()["detail"]
        assert uploaded_files(settings) == []
        ready = await client.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["database"] == "ok"


async def test_ready_requires_a_worker_alive_in_the_last_15_seconds(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ready")).status_code == 200
    await execute("UPDATE workers SET seen_at = now() - interval '15 seconds'")
    # A response stays valid for a second.
    async with asyncio.timeout(10):
        while (answer := await client.get("/ready")).status_code == 200:
            await asyncio.sleep(0.05)
    assert answer.status_code == 503
    assert answer.json()["worker"] == "No worker was alive in the last 15 s: start `./classifier worker`."
    # What it knew can still be asked for: the job waits for the next one.
    assert (await upload(client)).status_code == 201


async def test_model_without_a_worker_is_422_and_a_new_one_is_found_at_once(client: httpx.AsyncClient) -> None:
    async def ask(model: str) -> httpx.Response:
        return await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, data={"model": model})

    assert (await ask("other")).json()["model_version"] == "8"
    refused = await ask("newest")
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["msg"] == "No worker has an image model 'newest'; available: remote, other."
    await workers.announce(
        uuid.uuid4(), "another", [MODEL, ModelRead(name="newest", status="ok", kind="image", version="9")]
    )
    assert (await ask("newest")).json()["model_version"] == "9"


async def test_lost_jobs_are_enqueued_again(client: httpx.AsyncClient, settings: Settings) -> None:
    rows = [(await upload(client)).json()["id"] for _ in range(4)]
    lost, dead, held, kept = rows
    await execute("DELETE FROM pgqueuer WHERE convert_from(payload, 'UTF8')::bigint = ANY($1)", [[lost, dead, held]])
    lease = "UPDATE predictions SET status = 'processing', lease_expires_at = now() + $2::interval WHERE id = $1"
    await execute(lease, [dead, -settings.retry_policy.lease])
    await execute(lease, [held, settings.retry_policy.lease])
    assert await job_queue.reconcile() == 2
    assert sorted(int(job) for _, job in await jobs()) == sorted([lost, dead, kept])
    assert await job_queue.reconcile() == 0
    async with taking_jobs(settings, FakeEngine()):
        for prediction_id in (lost, dead, kept):
            assert (await finished(await predictions.get(prediction_id))).status == Status.SUCCEEDED


async def test_one_process_at_a_time_reconciles(client: httpx.AsyncClient, database_url: str) -> None:
    await upload(client)
    await execute("DELETE FROM pgqueuer")
    async with dedicated_connection(database_url) as other:
        await other.execute("SELECT pg_advisory_lock($1)", RECONCILE_JOBS)
        assert await job_queue.reconcile() == 0
    assert await job_queue.reconcile() == 1


async def test_failed_attempt_is_repeated_until_none_is_left(client: httpx.AsyncClient, settings: Settings) -> None:
    def go_wrong() -> None:
        raise RuntimeError("the model is out of order")

    fake = FakeEngine(go_wrong)
    async with taking_jobs(settings, fake):
        row = (await upload(client, wait=True)).json()
    assert row["status"] == "failed"
    assert row["attempts"] == 3
    assert row["error"]["code"] == "attempts_exhausted"
    assert fake.calls == 3
    assert await jobs() == []


async def test_claim_with_an_unknown_outcome_is_not_counted_twice(
    client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_all, message = claims.claim_all, [True]

    async def cut_off(*args: Any, **options: Any) -> list[Claim | None]:
        claims = await claim_all(*args, **options)
        if message.pop() if message else False:
            raise DatabaseUnavailable(outcome_unknown=True)
        return claims

    monkeypatch.setattr("app.db.crud.claims.claim_all", cut_off)
    async with taking_jobs(settings, FakeEngine()):
        row = (await upload(client, wait=True)).json()
    assert message == []
    assert row["status"] == "succeeded"
    assert row["attempts"] == 1


async def test_concurrent_installations_run_once(empty_database_url: str) -> None:
    await asyncio.gather(*(job_queue.install(empty_database_url) for _ in range(4)))
    await job_queue.install(empty_database_url)
