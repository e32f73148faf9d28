"""Embeddings, which are stored beside predictions."""

import httpx
import pytest

from app.classifier.similarity import unit, unpacked
from app.config import Settings
from app.db.connection import execute
from app.db.crud import embeddings
from app.domain import ImageEmbedding
from tests.conftest import FALLBACK
from tests.drawings import circles, noise, stripes
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
        # Trainings store those of the examples.
        await taught(client, 3)
        examples = set(await stored())
        await answer(client, noise(1))
        assert set(await stored()) == examples
