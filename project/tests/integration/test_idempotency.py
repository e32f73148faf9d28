"""Idempotency-Key, and cached results for bytes that a model has already classified."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock, patch

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from app.classifier.engine.process import Engine
from app.config import Settings
from app.db.connection import execute
from app.db.crud import idempotency
from app.domain import DatabaseUnavailable
from app.storage.folder import FolderStorage
from app.storage.retention import expire_records
from tests.integration.conftest import serving, uploaded_files
from tests.pictures import jpeg, jpeg_with
from tests.uploading import WAIT, upload

OTHER = jpeg(300, 300)
OTHER_PROCESS = 4 * 2**60 - 1
"""Its advisory lock: the largest possible."""


async def count() -> int:
    (row,) = await execute("SELECT count(*) AS n FROM predictions")
    return int(row["n"])


async def test_same_key_and_bytes_get_the_first_response(client: httpx.AsyncClient, settings: Settings) -> None:
    first = await upload(client, key="one")
    again = await upload(client, key="one")
    assert again.status_code == 201
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert first.headers.get("idempotency-replayed") is None
    assert again.headers["idempotency-replayed"] == "true"
    assert await count() == len(uploaded_files(settings)) == 1
    assert (await upload(client, key="two")).json()["id"] != first.json()["id"]


async def test_waiting_repeat_gets_the_result(client: httpx.AsyncClient) -> None:
    first = await upload(client, key="one")
    again = await upload(client, key="one", wait=True)
    assert first.json()["status"] == "pending"
    assert again.json()["status"] == "succeeded"
    assert first.json()["id"] == again.json()["id"]


@pytest.mark.all_models
@pytest.mark.parametrize("changed", [{"data": OTHER}, {"model": "mobilenet_v2"}])
async def test_same_key_for_a_different_upload_is_422(client: httpx.AsyncClient, changed: dict[str, Any]) -> None:
    await upload(client, key="one", model="efficientnet_lite0")
    answer = await upload(client, key="one", **changed)
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert await count() == 1


async def test_repeat_is_409_while_the_first_upload_is_in_progress(client: httpx.AsyncClient) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()
    classify = Engine.classify

    async def slowly(self: Engine, model: str, data: bytes, **options: Any) -> Any:
        arrived.set()
        await go_on.wait()
        return await classify(self, model, data, **options)

    with patch.object(Engine, "classify", slowly):
        first = asyncio.create_task(upload(client, key="one", wait=True))
        await arrived.wait()
        second = await upload(client, key="one")
        assert second.status_code == 409
        assert second.json()["code"] == "idempotency_key_in_flight"
        assert (await upload(client, key="one", data=OTHER)).status_code == 422
        go_on.set()
        assert (await first).json()["status"] == "succeeded"
    assert (await upload(client, key="one")).content == (await first).content
    assert await count() == 1


async def test_stalled_upload_that_lost_its_key_creates_no_second_row(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()
    put = FolderStorage.put

    async def slowly(self: FolderStorage, data: bytes, extension: str) -> str:
        if not arrived.is_set():
            arrived.set()
            await go_on.wait()
        return await put(self, data, extension)

    with patch.object(FolderStorage, "put", slowly):
        first = asyncio.create_task(upload(client, key="one"))
        await arrived.wait()
        await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '1 hour'")
        second = await upload(client, key="one")
        go_on.set()
        late = await first
    assert second.status_code == 201
    assert late.status_code == 409
    assert late.json()["code"] == "idempotency_key_in_flight"
    assert await count() == len(uploaded_files(settings)) == 1
    assert (await upload(client, key="one")).content == second.content


async def test_different_webhook_url_is_a_different_upload(settings: Settings) -> None:
    settings = settings.model_copy(update={"webhook_secret": SecretStr("whsec_" + "a" * 32)})
    async with serving(settings) as client:
        for address, status in (("http://a.example/", 201), ("http://a.example/", 201), ("http://b.example/", 422)):
            answer = await client.post(
                "/predictions/",
                files={"file": ("a.jpg", jpeg())},
                data={"webhook_url": address},
                headers={"Idempotency-Key": "one"},
            )
            assert answer.status_code == status


async def test_key_has_1_to_255_characters(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for keys in [[""], ["x" * 256], ["one", "two"], ["one", "one"]]:
        with subtests.test(keys=keys):
            headers = [("Idempotency-Key", key) for key in keys]
            answer = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers=headers)
            assert answer.status_code == 422
            assert answer.json()["detail"][0]["type"] == "idempotency_key_invalid"
            assert await count() == 0


async def test_ten_concurrent_uploads_create_one_prediction(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(upload(client, key="one") for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert await count() == 1


async def test_rejected_or_failed_upload_may_be_repeated(client: httpx.AsyncClient) -> None:
    assert (await upload(client, key="one", data=b"no image")).status_code == 400
    with patch("app.db.crud.new_predictions.execute", side_effect=DatabaseUnavailable()):
        assert (await upload(client, key="one")).status_code == 503
    assert await execute("SELECT * FROM idempotency_keys") == []
    assert (await upload(client, key="one")).status_code == 201


async def test_first_response_is_repeated_after_a_deletion(client: httpx.AsyncClient) -> None:
    first = await upload(client, key="one")
    await client.delete(f"/predictions/{first.json()['id']}/")
    for wait in (False, True):
        assert (await upload(client, key="one", wait=wait)).content == first.content
    assert await count() == 0


async def test_key_is_free_after_its_process_died(client: httpx.AsyncClient) -> None:
    first = await upload(client, key="with a row")
    await execute("UPDATE idempotency_keys SET answer = NULL")
    again = await upload(client, key="with a row")
    assert again.status_code == 201
    assert again.json()["id"] == first.json()["id"]

    await upload(client, key="without")
    lost = "UPDATE idempotency_keys SET prediction_id = NULL, claimed_at = now() - $1::interval WHERE key = 'without'"
    settings = Settings()
    await execute(lost, [settings.retry_policy.lease])
    assert (await upload(client, key="without")).status_code == 409
    await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '1 hour' WHERE key = 'without'")
    assert (await upload(client, key="without")).status_code == 201


async def test_key_of_a_dead_process_is_free_at_once(client: httpx.AsyncClient, database_url: str) -> None:
    """PostgreSQL releases the lock of a process that dies, whether or not it could say goodbye."""
    other = await asyncpg.connect(database_url)
    await other.execute("SELECT pg_advisory_lock($1)", OTHER_PROCESS)
    await upload(client, key="one")
    await execute("UPDATE idempotency_keys SET prediction_id = NULL, answer = NULL, owner = $1", [OTHER_PROCESS])
    alive = await upload(client, key="one")
    assert alive.status_code == 409
    assert alive.headers["Retry-After"] == "1"
    other.terminate()
    async with asyncio.timeout(10):
        while (response := await upload(client, key="one")).status_code == 409:
            await asyncio.sleep(0.05)
    assert response.status_code == 201
    assert await count() == 2


async def test_key_expires_after_a_day(client: httpx.AsyncClient) -> None:
    first = await upload(client, key="one")
    await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '23 hours 59 minutes'")
    await idempotency.delete_expired()
    assert (await upload(client, key="one")).content == first.content
    await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '24 hours'")
    assert (await upload(client, key="one", data=OTHER)).status_code == 201

    await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '24 hours'")
    async with expire_records(), asyncio.timeout(10):
        while await execute("SELECT 1 FROM idempotency_keys"):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_invalid_key_is_422(client: httpx.AsyncClient, key: str) -> None:
    answer = await upload(client, key=key)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "idempotency-key"]


@pytest.fixture
async def reusing(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        yield client


@pytest.mark.parametrize("wait", [False, True])
async def test_same_bytes_are_classified_once(reusing: httpx.AsyncClient, wait: bool) -> None:
    first = (await upload(reusing, wait=True)).json()
    await reusing.put(f"/predictions/{first['id']}/", json={"top_prediction": "a person's", "confidence": 1})
    with patch.object(Engine, "classify", side_effect=AssertionError("it was asked")):
        answer = await upload(reusing, wait=wait)
    second = answer.json()
    assert answer.status_code == 201
    assert second["status"] == "succeeded"
    assert second["attempts"] == 0
    assert not first["cached"]
    assert second["cached"]
    # What the model said; what a person said of the other one is about that.
    assert second["top_prediction"] == first["top_prediction"]
    assert second["all_predictions"] == first["all_predictions"]
    assert second["started_at"] is None
    assert second["corrected_at"] is None
    assert second["completed_at"] >= second["created_at"]
    assert second["image_path"] != first["image_path"]


async def test_cache_ignores_other_bytes_other_versions_and_failures(reusing: httpx.AsyncClient) -> None:
    first = (await upload(reusing, wait=True)).json()
    assert not (await upload(reusing, data=jpeg_with(b"\xff\xfe", b"other", 1), wait=True)).json()["cached"]
    await execute("UPDATE predictions SET model_version = 'old' WHERE id = $1", [first["id"]])
    assert not (await upload(reusing, wait=True)).json()["cached"]
    await execute("UPDATE predictions SET status = 'failed'")
    assert not (await upload(reusing, wait=True)).json()["cached"]
    assert (await upload(reusing, wait=True)).json()["cached"]


async def test_reclassification_does_not_use_the_cache(reusing: httpx.AsyncClient) -> None:
    await upload(reusing, wait=True)
    cached = (await upload(reusing, wait=True)).json()
    again = (await reusing.post(f"/predictions/{cached['id']}/reclassify", headers=WAIT)).json()
    assert cached["cached"]
    assert not again["cached"]
    assert again["attempts"] == 1


async def test_cache_can_be_disabled(client: httpx.AsyncClient) -> None:
    await upload(client, wait=True)
    second = (await upload(client, wait=True)).json()
    assert not second["cached"]
    assert second["attempts"] == 1


@pytest.mark.parametrize("unavailable", ["claim", "create"])
async def test_key_is_free_soon_after_the_database_failed(client: httpx.AsyncClient, unavailable: str) -> None:
    """Although the process that claimed it lives, and could not release it."""
    claim, release = idempotency.claim, AsyncMock(side_effect=DatabaseUnavailable)
    failing = DatabaseUnavailable(outcome_unknown=True)

    async def claimed_without_an_answer(*arguments: Any) -> object:
        await claim(*arguments)
        raise failing

    patched = (
        patch.object(idempotency, "claim", claimed_without_an_answer)
        if unavailable == "claim"
        else patch.object(FolderStorage, "put", AsyncMock(side_effect=failing))
    )
    with patched, patch.object(idempotency, "release", release):
        assert (await upload(client, key="one")).status_code == 503
    async with asyncio.timeout(10):
        while (answer := await upload(client, key="one")).status_code == 409:
            await asyncio.sleep(0.05)
    assert answer.status_code == 201
    assert len((await client.get("/predictions/")).json()) == 1
