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


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "duplicates=maybe"])
async def test_invalid_parameters_are_refused(client: httpx.AsyncClient, query: str) -> None:
    await classify(client)
    assert (await client.get(f"/predictions/1/similar?{query}")).status_code == 422


async def test_embeddings_without_codes_are_compared_with_those_that_have_them(client: httpx.AsyncClient) -> None:
    """Earlier versions of the service did not store codes."""
    first, second = [(await classify(client, circles(number)))["id"] for number in range(2)]
    await execute("UPDATE embeddings SET code = NULL WHERE prediction_id = $1", [first])
    assert [one["prediction"]["id"] for one in await similar(client, first)] == [second]
