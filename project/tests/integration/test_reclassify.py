"""Reclassification of stored images, and the history."""

import asyncio
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from app.db.crud import claims, history
from app.domain import AttemptsExhausted
from app.models.tortoise import Prediction
from tests.conftest import FALLBACK
from tests.e2e.server import Server
from tests.integration.conftest import SECOND_MODEL, serving, uploaded_files
from tests.uploading import WAIT, classify

pytestmark = pytest.mark.process


@pytest.fixture
def client(two_model_client: httpx.AsyncClient) -> httpx.AsyncClient:
    return two_model_client


@pytest.mark.parametrize("how", ["body", "query"])
async def test_earlier_result_is_kept_in_the_history(client: httpx.AsyncClient, how: str) -> None:
    before = await classify(client)
    path = f"/predictions/{before['id']}"
    body, query = ({"model": SECOND_MODEL}, {}) if how == "body" else (None, {"model": SECOND_MODEL})
    answer = await client.post(f"{path}/reclassify", headers=WAIT, json=body, params=query)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=30"
    after = answer.json()
    assert after["id"] == before["id"]
    assert after["status"] == "succeeded"
    assert after["model"] == SECOND_MODEL
    assert after["attempts"] == 1
    assert after == (await client.get(f"{path}/")).json()
    (past,) = (await client.get(f"{path}/history")).json()
    assert past.pop("replaced_at")
    assert past.pop("kind") == "answer"
    assert past == {name: before[name] for name in past}
    assert past["model"] == FALLBACK

    await client.post(f"{path}/reclassify", headers=WAIT)
    assert [one["model"] for one in (await client.get(f"{path}/history/")).json()] == [SECOND_MODEL, FALLBACK]
    assert (await client.get(f"{path}/")).json()["model"] == FALLBACK


async def test_reclassified_prediction_is_pending_until_it_is_finished(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    answer = await client.post(f"/predictions/{row['id']}/reclassify", json={"model": SECOND_MODEL})
    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
    assert answer.json()["top_prediction"] is None
    # The transport waits for background tasks.
    after = (await client.get(f"/predictions/{row['id']}/")).json()
    assert after["status"] == "succeeded"
    assert after["model"] == SECOND_MODEL


async def test_correction_stays_whatever_models_say_later(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    path = f"/predictions/{row['id']}"
    await client.put(f"{path}/", json={"top_prediction": "my cat", "confidence": 1})
    corrected_at = (await client.get(f"{path}/")).json()["corrected_at"]
    after = (await client.post(f"{path}/reclassify", json={"model": SECOND_MODEL}, headers=WAIT)).json()
    assert (after["status"], after["model"]) == ("succeeded", SECOND_MODEL)
    assert (after["top_prediction"], after["confidence"], after["corrected_at"]) == ("my cat", 1, corrected_at)
    # The models' own answers stand beside it.
    assert after["all_predictions"][0]["label"] != "my cat"
    past, change = (await client.get(f"{path}/history")).json()
    assert past["kind"] == "answer"
    assert past["all_predictions"] == row["all_predictions"]
    assert change["kind"] == "change"
    assert past["top_prediction"] == "my cat"
    assert past["corrected_at"] is not None


async def test_unfinished_prediction_cannot_be_reclassified(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    await Prediction.filter(id=row["id"]).update(status="processing")
    answer = await client.post(f"/predictions/{row['id']}/reclassify")
    assert answer.status_code == 409
    assert answer.json()["code"] == "prediction_unfinished"
    assert (await client.get(f"/predictions/{row['id']}/history")).json() == []


@pytest.mark.parametrize("path", ["reclassify", "history"])
async def test_unknown_prediction_is_404(client: httpx.AsyncClient, path: str) -> None:
    method = "POST" if path == "reclassify" else "GET"
    for number in (1, 2**63):
        answer = await client.request(method, f"/predictions/{number}/{path}")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "Prediction not found"
    assert (await client.request(method, f"/predictions/nine/{path}")).status_code == 422


async def test_unknown_model_changes_nothing(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    for wrong in ({"model": "nothing"}, {"model": 5}, {"modell": SECOND_MODEL}):
        answer = await client.post(f"/predictions/{row['id']}/reclassify", json=wrong)
        assert answer.status_code == 422
    assert (await client.get(f"/predictions/{row['id']}/")).json() == row


async def test_earlier_results_are_deleted_with_the_prediction(client: httpx.AsyncClient, settings: Settings) -> None:
    row = await classify(client)
    await client.post(f"/predictions/{row['id']}/reclassify", headers=WAIT)
    await client.delete(f"/predictions/{row['id']}/")
    # But for who deleted it.
    (kept,) = (await client.get(f"/predictions/{row['id']}/history")).json()
    assert kept["action"] == "prediction.deleted"
    assert await execute("SELECT * FROM past_answers") == []
    assert uploaded_files(settings) == []


async def test_missing_image_fails_and_the_earlier_result_is_kept(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    row = await classify(client)
    for path in uploaded_files(settings):
        path.unlink()
    after = (await client.post(f"/predictions/{row['id']}/reclassify", headers=WAIT)).json()
    assert after["status"] == "failed"
    assert after["error"]["code"] == "image_missing"
    (past,) = (await client.get(f"/predictions/{row['id']}/history")).json()
    assert past["top_prediction"] == row["top_prediction"]


async def test_late_result_of_the_previous_classification_is_not_written(client: httpx.AsyncClient) -> None:
    """Attempts start from zero, so they alone do not distinguish a late worker from the current one."""
    row = await classify(client)
    prediction_id = int(str(row["id"]))
    policy = Settings().retry_policy
    await history.reclassify(prediction_id, FALLBACK, "1")
    (late,) = await claims.claim_all(
        [prediction_id], policy.lease, attempts_below=policy.max_attempts, max_interruptions=10
    )
    assert late is not None
    await Prediction.filter(id=prediction_id).update(status="failed")
    await history.reclassify(prediction_id, SECOND_MODEL, "1")
    (now,) = await claims.claim_all(
        [prediction_id], policy.lease, attempts_below=policy.max_attempts, max_interruptions=10
    )
    assert now is not None
    assert now.attempt == late.attempt
    assert await claims.fail(late, AttemptsExhausted()) is None
    assert await claims.fail(now, AttemptsExhausted()) is not None


async def test_wait_lasts_if_another_process_classifies(settings: Settings, database_url: str, tmp_path: Path) -> None:
    """Two processes on one database: either may claim a prediction that is pending again."""
    other = Server(settings, tmp_path / "other.log", DATABASE_URL=database_url, RECOVER_SECONDS="0.01")
    async with serving(settings) as client:
        row = await classify(client)
        await asyncio.to_thread(other.start)
        try:
            for _ in range(40):
                after = await client.post(f"/predictions/{row['id']}/reclassify", headers=WAIT)
                assert after.json()["status"] == "succeeded"
        finally:
            await asyncio.to_thread(other.stop)
