"""Actions on many predictions of History."""

import re
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from tests.conftest import FALLBACK
from tests.drawings import circles, stripes
from tests.integration.conftest import uploaded_files
from tests.integration.rows import ROW
from tests.teaching import create
from tests.uploading import classify

pytestmark = pytest.mark.process

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PATH = "/history/selection/"


async def change(client: httpx.AsyncClient, action: str, ids: list[int] | None = None, **fields: Any) -> dict[str, Any]:
    """Send what a script sends."""
    data = {"action": action, "ids": [str(number) for number in ids or []], **fields}
    response = await client.post(PATH, data=data, headers={"Accept": "application/json"})
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


async def left(client: httpx.AsyncClient) -> list[int]:
    return [row["id"] for row in (await client.get("/predictions/?limit=500")).json()]


async def test_selected_predictions_are_deleted_with_their_images(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    first, second, third = [(await classify(client, circles(number)))["id"] for number in range(3)]
    assert await change(client, "delete", [first, third, 99]) == {"changed": 2}
    assert await left(client) == [second]
    assert len(uploaded_files(settings)) == 1
    changes = (await client.get(f"/predictions/{first}/history")).json()
    assert changes[0]["action"] == "prediction.deleted"


async def test_everything_that_matches_is_deleted_in_one_request(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pages.selection.BATCH", 4)
    await execute(ROW, ["failed", 10])
    kept = (await classify(client))["id"]
    assert await change(client, "delete", everything="true", status="failed") == {"changed": 10}
    assert await left(client) == [kept]


async def test_browsers_confirm_a_deletion_and_return_to_their_filters(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pages.selection.BATCH", 4)
    await execute(ROW, ["failed", 10])
    fields = {"action": "delete", "everything": "true", "status": "failed"}
    asked = await client.post(PATH, data=fields, headers=BROWSER)
    assert "Delete 10 images?" in asked.text
    assert 'href="/history?status=failed"' in asked.text
    assert len(await left(client)) == 10
    done = await client.post(PATH, data={**fields, "sure": "true"}, headers=BROWSER)
    assert (done.status_code, done.headers["location"]) == (303, "/history?status=failed")
    assert await left(client) == []


async def test_selected_predictions_are_classified_again(client: httpx.AsyncClient) -> None:
    first, second = [(await classify(client, circles(number)))["id"] for number in range(2)]
    await execute(ROW, ["pending", 1])
    (pending,) = {*await left(client)} - {first, second}
    assert (await change(client, "reclassify", [first, pending], with_model=FALLBACK))["changed"] == 1
    again = (await client.get(f"/predictions/{first}/?wait=30")).json()
    assert again["status"] == "succeeded"
    assert [entry["kind"] for entry in (await client.get(f"/predictions/{first}/history")).json()] == ["answer"]
    assert (await client.get(f"/predictions/{second}/history")).json() == []


async def test_selected_predictions_become_examples(client: httpx.AsyncClient) -> None:
    await create(client, labels=["circle", "stripe"])
    ids = [(await classify(client, draw(number)))["id"] for draw in (circles, stripes) for number in range(2)]
    assert (await change(client, "teach", ids[:2], taught_model="shapes", as_label=" circle "))["changed"] == 2
    assert (await change(client, "teach", ids[2:], taught_model="shapes", as_label="new"))["changed"] == 2
    model = (await client.get("/models/shapes")).json()
    assert {one["label"]: one["learn"] for one in model["labels"]} == {"circle": 2, "new": 2, "stripe": 0}


INVALID_ACTIONS: list[tuple[dict[str, Any], int]] = [
    ({"action": "explode"}, 422),
    ({}, 422),
    ({"action": "delete", "ids": ["0"]}, 422),
    ({"action": "delete", "ids": ["x"]}, 422),
    ({"action": "delete", "ids": [str(number) for number in range(1, 502)]}, 422),
    ({"action": "reclassify", "ids": ["1"], "with_model": "nothing"}, 422),
    ({"action": "teach", "ids": ["1"], "taught_model": "nothing", "as_label": "x"}, 404),
    ({"action": "teach", "ids": ["1"], "taught_model": "shapes", "as_label": " "}, 422),
    ({"action": "teach", "ids": ["1"], "taught_model": "shapes", "as_label": "Other"}, 422),
]


async def test_invalid_requests_are_refused(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    await create(client, labels=["circle"])
    await classify(client)
    for fields, status in INVALID_ACTIONS:
        with subtests.test(str(fields)[:80]):
            response = await client.post(PATH, data=fields, headers={"Accept": "application/json"})
            assert response.status_code == status, response.text
            assert response.headers["content-type"].startswith("application/")
            assert await left(client) == [1]


async def test_everything_means_what_the_page_showed(client: httpx.AsyncClient) -> None:
    for number in range(2):
        await classify(client, circles(number))
    shown = (await client.get("/history", headers=BROWSER)).text
    found = re.search(r'name="before" value="(\d+)"', shown)
    assert found
    later = (await classify(client, circles(3)))["id"]
    assert (await change(client, "delete", everything="true", before=found[1]))["changed"] == 2
    assert await left(client) == [later]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("reviewed=no", {3}),
        ("reviewed=yes", {1, 2}),
        ("reviewed=confirmed", {1}),
        ("reviewed=corrected", {2}),
    ],
)
async def test_lists_are_filtered_by_review(client: httpx.AsyncClient, query: str, expected: set[int]) -> None:
    for number in range(3):
        await classify(client, circles(number))
    await client.post("/predictions/review", json={"ids": [1], "verdict": "confirmed"})
    await client.post("/predictions/review", json={"ids": [2], "verdict": "corrected", "label": "mine"})
    assert {row["id"] for row in (await client.get(f"/predictions/?{query}")).json()} == expected
    page = (await client.get(f"/history?{query}", headers=BROWSER)).text
    assert page.count('class="card"') == len(expected)
    assert (await client.get("/predictions/?reviewed=perhaps")).status_code == 422


async def test_history_is_filtered_by_confidence(client: httpx.AsyncClient) -> None:
    row = await classify(client)
    percent = int(100 * row["confidence"])
    for query, count in (
        (f"least={percent}", 1),
        (f"least={percent + 1}", 0),
        (f"most={percent + 1}", 1),
        (f"most={percent}", 0),
    ):
        page = (await client.get(f"/history?{query}", headers=BROWSER)).text
        assert page.count('class="card"') == count, query
    assert (await client.get("/history?least=x", headers=BROWSER)).status_code == 422


async def test_history_shows_only_the_images_of_its_address(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await classify(client, circles(number))
    for ids, expected in (("1", {1}), ("1-3", {1, 2, 3}), ("2,4-5", {2, 4, 5}), ("9", set()), ("5-1", set())):
        page = (await client.get(f"/history?only={ids}", headers=BROWSER)).text
        assert {int(number) for number in re.findall(r'class="card" data-id="(\d+)"', page)} == expected, ids
    for ids in ("x", "1-", "-1", "1,,2", "1-2-3"):
        assert (await client.get(f"/history?only={ids}", headers=BROWSER)).status_code == 422, ids
    wide = await client.get("/history?only=1-999999999999999999", headers=BROWSER)
    assert wide.text.count('class="card"') == 5
    assert (await change(client, "delete", everything="true", only="2-3"))["changed"] == 2


async def test_address_of_a_batch_lists_all_of_its_images(client: httpx.AsyncClient) -> None:
    await execute(ROW, ["failed", 1_200])
    page = await client.get("/history?only=101-1100", headers=BROWSER)
    assert page.status_code == 200
    assert (await change(client, "delete", everything="true", only="101-1100"))["changed"] == 1_000
    assert len((await client.get("/predictions/", params={"limit": 500})).json()) == 200
