"""Asked twice, done once: Idempotency-Key, and bytes that a model has seen before."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

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

OTHER = jpeg(300, 300)
WAIT = "wait=30"


async def upload(
    client: httpx.AsyncClient, key: str | None = None, data: bytes | None = None, model: str = "", prefer: str = ""
) -> httpx.Response:
    headers = {"Prefer": prefer}
    if key is not None:
        headers["Idempotency-Key"] = key
    files = {"file": ("a.jpg", data or jpeg())}
    return await client.post("/predictions/", files=files, data={"model": model}, headers=headers)


async def count() -> int:
    (row,) = await execute("SELECT count(*) AS n FROM predictions")
    return int(row["n"])


async def test_the_same_key_and_bytes_are_given_the_first_answer(client: httpx.AsyncClient, settings: Settings) -> None:
    first = await upload(client, "one")
    again = await upload(client, "one")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert await count() == len(uploaded_files(settings)) == 1
    assert (await upload(client, "two")).json()["id"] != first.json()["id"]


async def test_who_waits_the_second_time_learns_the_result(client: httpx.AsyncClient) -> None:
    first = await upload(client, "one")
    again = await upload(client, "one", prefer=WAIT)
    assert (first.json()["status"], again.json()["status"]) == ("pending", "succeeded")
    assert first.json()["id"] == again.json()["id"]


@pytest.mark.parametrize("changed", [{"data": OTHER}, {"model": "mobilenet_v2"}])
async def test_the_same_key_for_something_else_is_422(client: httpx.AsyncClient, changed: dict[str, Any]) -> None:
    await upload(client, "one", model="efficientnet_lite0")
    answer = await upload(client, "one", **changed)
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert await count() == 1


async def test_while_the_first_is_in_flight_the_second_is_409(client: httpx.AsyncClient) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()
    classify = Engine.classify

    async def slowly(self: Engine, model: str, data: bytes) -> Any:
        arrived.set()
        await go_on.wait()
        return await classify(self, model, data)

    with patch.object(Engine, "classify", slowly):
        first = asyncio.create_task(upload(client, "one", prefer=WAIT))
        await arrived.wait()
        second = await upload(client, "one")
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_in_flight")
        assert (await upload(client, "one", data=OTHER)).status_code == 422
        go_on.set()
        assert (await first).json()["status"] == "succeeded"
    assert (await upload(client, "one")).content == (await first).content
    assert await count() == 1


async def test_who_stood_still_until_its_key_was_anothers_makes_no_second_row(
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
        first = asyncio.create_task(upload(client, "one"))
        await arrived.wait()
        await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '1 hour'")
        second = await upload(client, "one")
        go_on.set()
        late = await first
    assert (second.status_code, late.status_code, late.json()["code"]) == (201, 409, "idempotency_key_in_flight")
    assert await count() == len(uploaded_files(settings)) == 1
    assert (await upload(client, "one")).content == second.content


async def test_another_webhook_is_another_upload(settings: Settings) -> None:
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


@pytest.mark.parametrize("keys", [[""], ["x" * 256], ["one", "two"], ["one", "one"]])
async def test_a_key_is_one_of_1_to_255_characters(client: httpx.AsyncClient, keys: list[str]) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    answer = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers=headers)
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "idempotency_key_invalid")
    assert await count() == 0


async def test_ten_at_once_are_one(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(upload(client, "one") for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert await count() == 1


async def test_what_was_refused_or_went_wrong_may_be_tried_again(client: httpx.AsyncClient) -> None:
    assert (await upload(client, "one", data=b"no image")).status_code == 400
    with patch("app.db.crud.new_predictions.execute", side_effect=DatabaseUnavailable()):
        assert (await upload(client, "one")).status_code == 503
    assert await execute("SELECT * FROM idempotency_keys") == []
    assert (await upload(client, "one")).status_code == 201


async def test_a_deleted_prediction_is_still_the_first_answer(client: httpx.AsyncClient) -> None:
    first = await upload(client, "one")
    await client.delete(f"/predictions/{first.json()['id']}/")
    for prefer in ("", WAIT):
        assert (await upload(client, "one", prefer=prefer)).content == first.content
    assert await count() == 0


async def test_a_process_that_died_before_it_answered_keeps_nobody_out(client: httpx.AsyncClient) -> None:
    first = await upload(client, "with a row")
    await execute("UPDATE idempotency_keys SET answer = NULL")
    again = await upload(client, "with a row")
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])

    await upload(client, "without")
    lost = "UPDATE idempotency_keys SET prediction_id = NULL, claimed_at = now() - $1::interval WHERE key = 'without'"
    settings = Settings()
    await execute(lost, [settings.retry_policy.lease])
    assert (await upload(client, "without")).status_code == 409
    await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '1 hour' WHERE key = 'without'")
    assert (await upload(client, "without")).status_code == 201


async def test_a_key_is_kept_for_a_day(client: httpx.AsyncClient) -> None:
    first = await upload(client, "one")
    await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '23 hours 59 minutes'")
    await idempotency.delete_expired()
    assert (await upload(client, "one")).content == first.content
    await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '24 hours'")
    assert (await upload(client, "one", data=OTHER)).status_code == 201

    await execute("UPDATE idempotency_keys SET claimed_at = now() - interval '24 hours'")
    async with expire_records(), asyncio.timeout(10):
        while await execute("SELECT 1 FROM idempotency_keys"):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_422(client: httpx.AsyncClient, key: str) -> None:
    answer = await upload(client, key)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "idempotency-key"]


@pytest.fixture
async def reusing(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        yield client


@pytest.mark.parametrize("prefer", ["", WAIT])
async def test_the_same_bytes_are_not_classified_twice(reusing: httpx.AsyncClient, prefer: str) -> None:
    first = (await upload(reusing, prefer=WAIT)).json()
    await reusing.put(f"/predictions/{first['id']}/", json={"top_prediction": "a person's", "confidence": 1})
    with patch.object(Engine, "classify", side_effect=AssertionError("it was asked")):
        answer = await upload(reusing, prefer=prefer)
    second = answer.json()
    assert (answer.status_code, second["status"], second["attempts"]) == (201, "succeeded", 0)
    assert (first["cached"], second["cached"]) == (False, True)
    # What the model said; what a person said of the other one is about that.
    assert second["top_prediction"] == first["top_prediction"]
    assert second["all_predictions"] == first["all_predictions"]
    assert (second["started_at"], second["corrected_at"]) == (None, None)
    assert second["completed_at"] >= second["created_at"]
    assert second["image_path"] != first["image_path"]


async def test_other_bytes_another_version_or_a_failure_are_no_reason(reusing: httpx.AsyncClient) -> None:
    first = (await upload(reusing, prefer=WAIT)).json()
    assert not (await upload(reusing, data=jpeg_with(b"\xff\xfe", b"other", 1), prefer=WAIT)).json()["cached"]
    await execute("UPDATE predictions SET model_version = 'old' WHERE id = $1", [first["id"]])
    assert not (await upload(reusing, prefer=WAIT)).json()["cached"]
    await execute("UPDATE predictions SET status = 'failed'")
    assert not (await upload(reusing, prefer=WAIT)).json()["cached"]
    assert (await upload(reusing, prefer=WAIT)).json()["cached"]


async def test_one_that_is_classified_again_was_asked(reusing: httpx.AsyncClient) -> None:
    await upload(reusing, prefer=WAIT)
    cached = (await upload(reusing, prefer=WAIT)).json()
    again = (await reusing.post(f"/predictions/{cached['id']}/reclassify", headers={"Prefer": WAIT})).json()
    assert (cached["cached"], again["cached"], again["attempts"]) == (True, False, 1)


async def test_it_can_be_turned_off(client: httpx.AsyncClient) -> None:
    await upload(client, prefer=WAIT)
    second = (await upload(client, prefer=WAIT)).json()
    assert (second["cached"], second["attempts"]) == (False, 1)
