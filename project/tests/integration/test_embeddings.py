"""Embeddings, which are stored beside predictions."""

from typing import Any

import httpx
import numpy as np
import pytest

from app.classifier.similarity import code_of, near_duplicate_groups, unit, unpacked
from app.config import Settings
from app.db.connection import execute
from app.db.crud import embeddings
from app.domain import ImageEmbedding
from tests.conftest import FALLBACK
from tests.drawings import circles, noise, recompressed, stripes
from tests.integration.conftest import serving
from tests.teaching import answer, taught
from tests.uploading import classify, upload

pytestmark = pytest.mark.process


async def stored() -> dict[int, ImageEmbedding]:
    rows = await execute("SELECT id FROM predictions")
    return await embeddings.of_predictions([row["id"] for row in rows])


@pytest.mark.parametrize("wait", [True, False])
async def test_every_image_has_its_embedding(client: httpx.AsyncClient, wait: bool) -> None:
    """Of clients that wait, and of those that do not, which take different ways."""
    for draw in (circles, stripes):
        await upload(client, draw(1), wait=wait)
    first, second = (await stored()).values()
    assert (first.model, len(first.vector)) == (FALLBACK, 2 * 1280)
    model = (await client.get("/predictions/1/")).json()
    assert first.version == model["model_version"]
    units = unit(unpacked([first.vector, second.vector]))
    assert -1 <= units[0] @ units[1] < 0.9


async def test_cached_result_has_the_embedding_of_the_earlier_one(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        await classify(client, circles(1))
        assert (await classify(client, circles(1)))["cached"]
        found = await stored()
    assert found[1] == found[2]


async def test_cached_result_has_no_embedding_unless_it_is_wanted(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        await classify(client, circles(1))
    changes = {"reuse_answers": True, "keep_embeddings": False}
    async with serving(settings.model_copy(update=changes)) as client:
        assert (await classify(client, circles(1)))["cached"]
        assert list(await stored()) == [1]


async def test_prediction_of_a_custom_model_has_the_embedding_of_its_base(client: httpx.AsyncClient) -> None:
    await taught(client, 3)
    prediction = await answer(client, noise(1))
    assert (await stored())[prediction["id"]].model == FALLBACK


async def test_embedding_is_deleted_with_its_prediction(client: httpx.AsyncClient) -> None:
    prediction = await classify(client)
    await client.delete(f"/predictions/{prediction['id']}/")
    assert await execute("SELECT id FROM embeddings") == []


async def test_no_embeddings_are_stored_unless_they_are_wanted(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"keep_embeddings": False})) as client:
        await classify(client)
        await upload(client)
        assert await stored() == {}


def embedding(model: str, version: str, *values: float) -> ImageEmbedding:
    vector = np.array(values, "<f2").tobytes()
    return ImageEmbedding(model, version, vector, code_of(vector))


def test_near_duplicate_groups_are_grouped_within_a_version() -> None:
    images = {
        1: embedding("a", "1", 1, 0),
        2: embedding("a", "1", 0, 1),
        3: embedding("a", "1", 2, 0.1),
        4: embedding("a", "2", 1, 0, 0),
        5: embedding("b", "1", 1, 0),
    }
    assert near_duplicate_groups(images) == {1: 1, 3: 1}
    assert near_duplicate_groups({}) == {}


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


def test_code_has_a_bit_for_each_number() -> None:
    vector = np.array([0, 1, 4, 100, 0, 0, 0, 0, 9], "<f2").tobytes()
    # The mean of the roots is 16 / 9.
    assert code_of(vector) == bytes([0b00110000, 0b10000000])
    assert code_of(np.zeros(8, "<f2").tobytes()) == b"\0"
