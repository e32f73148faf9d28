"""A second model that classifies a share of the uploads as well."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.classifier.engine.process import Engine
from app.config import Settings
from app.db.connection import execute
from app.db.crud import api_keys, audit_log
from app.domain import MAX_ID, Scope
from app.worker import shadowing
from tests.conftest import FALLBACK
from tests.drawings import circles, stripes
from tests.integration.conftest import SECOND_MODEL, processes
from tests.pictures import jpeg
from tests.polling import until
from tests.teaching import taught
from tests.uploading import classify

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadowing, "SEARCH_SECONDS", 0.05)


@pytest.fixture
def client(_short_pauses: None, two_model_client: httpx.AsyncClient) -> httpx.AsyncClient:
    return two_model_client


async def start(client: httpx.AsyncClient, model: str = SECOND_MODEL, share: float = 1) -> dict[str, Any]:
    response = await client.put("/shadow", json={"model": model, "share": share})
    assert response.status_code == 200, response.text
    read: dict[str, Any] = response.json()
    return read


async def once(client: httpx.AsyncClient, is_reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        found: dict[str, Any] = (await client.get("/shadow")).json()
        return found

    return await until(read, is_reached)


async def test_second_model_classifies_uploads_and_changes_nothing(client: httpx.AsyncClient) -> None:
    earlier = await classify(client, jpeg(300))
    assert (await client.get("/shadow")).json()["code"] == "shadow_not_found"
    read = await start(client)
    assert (read["model"], read["running"], read["compared"], read["started_by"]) == (
        SECOND_MODEL,
        True,
        0,
        "anonymous",
    )
    rows = [await classify(client, jpeg(301 + number)) for number in range(3)]
    read = await once(client, lambda read: read["compared"] == 3)
    assert (read["default_model"], read["default_version"]) == (FALLBACK, rows[0]["model_version"])
    # Both have the same network.
    assert (read["same"], read["failed"], read["different"]) == (3, 0, [])
    for row in (earlier, *rows):
        assert (await client.get(f"/predictions/{row['id']}/")).json() == row
        assert (await client.get(f"/predictions/{row['id']}/history/")).json() == []


async def test_second_model_waits_while_images_of_others_are_classified(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()

    def busy(_: Engine) -> bool:
        looked.set()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "is_busy", property(busy))
        await start(client)
        await classify(client)
        await asyncio.wait_for(looked.wait(), 20)
        assert await execute("SELECT FROM shadow_answers") == []
    await once(client, lambda read: read["compared"] == 1)


async def test_only_a_share_of_uploads_is_compared(client: httpx.AsyncClient) -> None:
    await start(client, share=0.5)
    numbers = [(await classify(client, jpeg(300 + number)))["id"] for number in range(8)]
    (row,) = await execute(
        "SELECT count(*) AS count FROM unnest($1::bigint[]) AS id WHERE (hashint8extended(id, 21) & $2) % 10000 < 5000",
        [numbers, MAX_ID],
    )
    assert 0 < row["count"] < 8
    await once(client, lambda read: read["compared"] == row["count"])
    # Nothing else is claimed afterwards.
    assert await execute("SELECT FROM shadow_answers WHERE completed_at IS NULL") == []


async def test_reviews_say_which_model_is_right_more_often(client: httpx.AsyncClient) -> None:
    await taught(client, retrain_after=0)
    await start(client, "shapes")
    numbers = [(await classify(client, draw(500 + n)))["id"] for n in range(4) for draw in (circles, stripes)]
    await once(client, lambda read: read["compared"] == 8)
    for position, number in enumerate(numbers[:6]):
        label = "circle" if position % 2 == 0 else "stripe"
        review = {"ids": [number], "verdict": "corrected", "label": label}
        await client.post("/predictions/review", json=review)
    read = (await client.get("/shadow")).json()
    pairs = read["all"]
    assert (pairs["reviewed"], pairs["only_shadow_right"], pairs["only_default_right"]) == (6, 6, 0)
    assert (pairs["both_right"], pairs["both_wrong"], pairs["difference"]) == (0, 0, 1)
    assert pairs["p_value"] == pytest.approx(2 / 64, abs=1e-4)
    assert 0 < pairs["interval"][0] < pairs["interval"][1] <= 1
    assert (read["sample"]["reviewed"], read["sample"]["difference"]) == (0, None)
    assert {one["shadow_label"] for one in read["different"]} == {"circle", "stripe"}
    accuracy = {row["model"]: row["all"] for row in (await client.get("/accuracy")).json()}
    assert (accuracy["shapes"]["reviewed"], accuracy["shapes"]["correct"]) == (6, 6)
    assert (accuracy[FALLBACK]["reviewed"], accuracy[FALLBACK]["correct"]) == (6, 0)


async def test_custom_default_is_compared_by_reviews_too(client: httpx.AsyncClient) -> None:
    await taught(client, retrain_after=0)
    await client.put("/models/default", json={"name": "shapes"})
    await start(client)
    number = (await classify(client, circles(500)))["id"]
    await once(client, lambda read: read["compared"] == 1)
    # It becomes an example of the default model, which had not learned from it yet.
    await client.put(f"/predictions/{number}/", json={"top_prediction": "circle", "confidence": 1})
    assert (await client.get("/shadow")).json()["all"]["only_default_right"] == 1


async def test_deleted_model_is_no_longer_compared(client: httpx.AsyncClient) -> None:
    await taught(client, retrain_after=0)
    await client.put("/models/shapes/decision", json={"sure_from": 0.5})
    await start(client, "shapes")
    assert (await client.delete("/models/shapes")).status_code == 204
    assert (await client.get("/shadow")).json()["running"] is False
    await taught(client, retrain_after=0)
    assert (await client.get("/models/shapes/decision")).json()["source"] == "model"


async def test_images_that_cannot_be_classified_are_counted(client: httpx.AsyncClient, settings: Settings) -> None:
    row = await classify(client)
    await start(client)
    await execute("UPDATE shadows SET first_id = 1")
    (settings.uploads / row["image_path"]).unlink()
    read = await once(client, lambda read: read["failed"] == 1)
    assert read["compared"] == 0
    assert (await execute("SELECT error_code FROM shadow_answers"))[0]["error_code"] == "image_missing"


async def test_image_that_a_dead_process_has_taken_is_taken_over(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    await start(client)
    await execute(
        "INSERT INTO shadow_answers "
        "(shadow_id, prediction_id, claimed_at, default_model, default_version, default_label) "
        "SELECT shadows.id, $1, now() - interval '6 minutes', $2, $3, $4 FROM shadows",
        [row["id"], FALLBACK, row["model_version"], row["top_prediction"]],
    )
    await once(client, lambda read: read["compared"] == 1)


async def test_process_of_the_second_model_ends_with_the_comparison(client: httpx.AsyncClient) -> None:
    before = {process.pid for process in processes()}
    await start(client)
    await classify(client)
    await once(client, lambda read: read["compared"] == 1)
    (process,) = [process for process in processes() if process.pid not in before]
    assert process.nice() == 19
    assert (await client.delete("/shadow")).status_code == 204
    async with asyncio.timeout(20):
        while process.is_running():
            await asyncio.sleep(0.05)
    read = (await client.get("/shadow")).json()
    assert (read["running"], read["compared"]) == (False, 1)
    assert read["ended_at"]
    assert (await client.delete("/shadow")).status_code == 404


async def test_another_comparison_replaces_the_first(client: httpx.AsyncClient) -> None:
    await taught(client, retrain_after=0)
    await start(client)
    read = await start(client, "shapes", 0.2)
    assert (read["model"], read["share"], read["compared"]) == ("shapes", 0.2, 0)
    (row,) = await execute("SELECT count(*) AS count FROM shadows WHERE ended_at IS NULL")
    assert row["count"] == 1
    actions = [(entry.action, entry.after) for entry in await audit_log.page(2, None, None)]
    assert actions[0] == ("shadow.started", {"model": "shapes", "share": 0.2})


INVALID_COMPARISONS = [
    {"model": FALLBACK},
    {"model": "nothing"},
    {"model": ""},
    {"model": SECOND_MODEL, "share": 0},
    {"model": SECOND_MODEL, "share": 1.1},
    {"model": SECOND_MODEL, "share": True},
    {"share": 0.1},
    {"model": SECOND_MODEL, "part": 1},
]


async def test_invalid_comparison_is_refused(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for body in INVALID_COMPARISONS:
        with subtests.test(str(body)):
            assert (await client.put("/shadow", json=body)).status_code == 422
            assert (await client.get("/shadow")).status_code == 404


async def test_promoted_model_is_no_longer_compared(client: httpx.AsyncClient) -> None:
    await start(client)
    await client.put("/models/default", json={"name": SECOND_MODEL})
    await classify(client)
    read = (await client.get("/shadow")).json()
    assert (read["compared"], read["running"], read["paused"]) == (0, True, True)
    assert "nothing is compared until" in (await client.get("/catalog", headers={"Accept": "text/html"})).text
    # Back again: it goes on.
    await client.put("/models/default", json={"name": None})
    await classify(client, jpeg(301))
    await once(client, lambda read: read["compared"] == 1)


async def test_only_administrators_compare(client: httpx.AsyncClient) -> None:
    for scopes, status in (([Scope.READ, Scope.WRITE], 403), ([Scope.ADMIN], 200)):
        _, key = await api_keys.create("anna", scopes, None, "a test")
        answer = await client.put("/shadow", json={"model": SECOND_MODEL}, headers={"X-API-Key": key})
        assert answer.status_code == status, scopes


async def test_comparison_is_started_read_and_ended_on_the_page(client: httpx.AsyncClient) -> None:
    html = {"Accept": "text/html"}
    await taught(client, retrain_after=0)
    text = (await client.get("/catalog", headers=html)).text
    assert "Compare with the default" in text
    form = {"model": "shapes", "share": "1.0"}
    sent = await client.post("/catalog/shadow", data=form, headers=html)
    assert (sent.status_code, sent.headers["location"]) == (303, "/catalog#shadow")
    number = (await classify(client, circles(500)))["id"]
    await once(client, lambda read: read["compared"] == 1)
    text = (await client.get("/catalog", headers=html)).text
    assert "shapes runs on 100 % of the uploads." in text
    assert "1 image compared" in text
    assert "Review images to see" in text
    await client.put(f"/predictions/{number}/", json={"top_prediction": "circle", "confidence": 1})
    text = (await client.get("/catalog", headers=html)).text
    assert "do not show yet which model" in text
    invalid = await client.post("/catalog/shadow", data={"model": "shapes", "share": "5"}, headers=html)
    assert invalid.status_code == 422
    assert (await client.post("/catalog/shadow/end", headers=html)).status_code == 303
    assert "shapes ran on 100 % of the uploads." in (await client.get("/catalog", headers=html)).text
