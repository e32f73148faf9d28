"""Similar images through the API."""

from typing import Any

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from tests.drawings import circles, recompressed, stripes
from tests.integration.conftest import serving
from tests.uploading import classify

pytestmark = pytest.mark.process


async def similar(client: httpx.AsyncClient, prediction_id: int, **parameters: Any) -> list[dict[str, Any]]:
    response = await client.get(f"/predictions/{prediction_id}/similar", params=parameters)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


async def test_similar_images_are_found_and_copies_are_marked(client: httpx.AsyncClient) -> None:
    first = (await classify(client, circles(1)))["id"]
    copy = (await classify(client, recompressed(circles(1))))["id"]
    circle, stripe = [(await classify(client, draw(2)))["id"] for draw in (circles, stripes)]
    found = await similar(client, first)
    assert [one["prediction"]["id"] for one in found][:2] == [copy, circle]
    assert {one["prediction"]["id"] for one in found} == {copy, circle, stripe}
    assert [one["near_duplicate"] for one in found] == [one["similarity"] > 0.9 for one in found]
    assert found[0]["near_duplicate"]
    assert [one["similarity"] for one in found] == sorted((one["similarity"] for one in found), reverse=True)
    assert [one["prediction"]["id"] for one in await similar(client, first, limit=1)] == [copy]
    assert all(not one["near_duplicate"] for one in await similar(client, first, duplicates=False))


async def test_others_are_found_behind_many_copies(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.similar.CANDIDATES", 2)
    first = (await classify(client, circles(1)))["id"]
    for _ in range(3):
        await classify(client, circles(1))
    stripe = (await classify(client, stripes(1)))["id"]
    found = await similar(client, first, limit=1, duplicates=False)
    assert [one["prediction"]["id"] for one in found] == [stripe]


async def test_deleted_images_are_not_found(client: httpx.AsyncClient) -> None:
    first, second = [(await classify(client, circles(number)))["id"] for number in range(2)]
    await client.delete(f"/predictions/{second}/")
    assert await similar(client, first) == []
    assert (await client.get(f"/predictions/{second}/similar")).json()["code"] == "prediction_not_found"


async def test_image_without_an_embedding_cannot_be_compared(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"keep_embeddings": False})) as client:
        prediction = (await classify(client))["id"]
        response = await client.get(f"/predictions/{prediction}/similar")
        assert (response.status_code, response.json()["code"]) == (404, "embedding_missing")


INVALID_PARAMETERS = ["limit=0", "limit=101", "limit=x", "duplicates=maybe"]


async def test_invalid_parameters_are_refused(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    await classify(client)
    for query in INVALID_PARAMETERS:
        with subtests.test(query):
            assert (await client.get(f"/predictions/1/similar?{query}")).status_code == 422


async def test_embeddings_without_codes_are_compared_with_those_that_have_them(client: httpx.AsyncClient) -> None:
    """Earlier versions of the service did not store codes."""
    first, second = [(await classify(client, circles(number)))["id"] for number in range(2)]
    await execute("UPDATE embeddings SET code = NULL WHERE prediction_id = $1", [first])
    assert [one["prediction"]["id"] for one in await similar(client, first)] == [second]


async def listed(client: httpx.AsyncClient, limit: int, **parameters: Any) -> list[list[int]]:
    """The IDs on each page of a list without near-duplicates."""
    pages, path = [], str(httpx.URL("/predictions/", params={"limit": limit, "duplicates": False, **parameters}))
    while True:
        response = await client.get(path)
        assert response.status_code == 200, response.text
        pages.append([row["id"] for row in response.json()])
        if "next" not in response.links:
            return pages
        path = response.links["next"]["url"]


async def test_lists_show_the_newest_of_near_duplicates(client: httpx.AsyncClient) -> None:
    first, copy = [(await classify(client, data))["id"] for data in (circles(1), recompressed(circles(1)))]
    stripe, same_stripe, last = [
        (await classify(client, data))["id"] for data in (stripes(1), stripes(1), recompressed(circles(1)))
    ]
    assert await listed(client, limit=10) == [[last, same_stripe]]
    # A page is compared with those before it.
    assert await listed(client, limit=2) == [[last, same_stripe], [], []]
    every = (await client.get("/predictions/")).json()
    assert [row["id"] for row in every] == [last, same_stripe, stripe, copy, first]


async def test_lists_show_near_duplicates_of_what_their_filters_exclude(client: httpx.AsyncClient) -> None:
    await classify(client, circles(1), name="kept.jpg")
    await classify(client, circles(1), name="other.jpg")
    assert await listed(client, limit=10) == [[2]]
    assert await listed(client, limit=10, q="kept") == [[1]]


async def test_lists_show_images_without_embeddings(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"keep_embeddings": False})) as client:
        for _ in range(2):
            await classify(client, circles(1))
        assert await listed(client, limit=10) == [[2, 1]]


async def test_history_marks_near_duplicates_and_hides_them(client: httpx.AsyncClient) -> None:
    first, copy = [(await classify(client, circles(1)))["id"] for _ in range(2)]
    page = (await client.get("/history/")).text
    assert f"near-duplicate of #{copy}" in page
    assert f'data-id="{first}"' in page
    hidden = (await client.get("/history/", params={"duplicates": "false"})).text
    assert f'data-id="{copy}"' in hidden
    assert f'data-id="{first}"' not in hidden
