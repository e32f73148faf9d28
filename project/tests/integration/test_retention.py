"""Retention: deletion by age or by total size."""

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from app.storage import Storage, make_storage
from app.storage.retention import retain
from tests.integration.conftest import Upload, uploaded_files
from tests.pictures import jpeg


async def stored(client: httpx.AsyncClient, upload: Upload, settings: Settings, count: int) -> Storage:
    for number in range(count):
        await upload(jpeg(300 + number))
    assert len((await client.get("/predictions/")).json()) == count
    return make_storage(settings)


async def ids() -> list[int]:
    return [row["id"] for row in await execute("SELECT id FROM predictions ORDER BY id")]


@pytest.mark.all_models
async def test_old_predictions_are_deleted(client: httpx.AsyncClient, upload: Upload, settings: Settings) -> None:
    storage = await stored(client, upload, settings, 5)
    days = settings.model_copy(update={"retention_days": 30})
    await execute("UPDATE predictions SET created_at = now() - interval '31 days' WHERE id IN (1, 2, 4)")
    await execute("UPDATE predictions SET status = 'processing' WHERE id = 2")
    assert (await client.get("/predict/iris_random_forest")).status_code == 200
    await execute("UPDATE tabular_predictions SET created_at = now() - interval '31 days'")
    planned = await retain(storage, days, dry_run=True)
    assert planned.predictions == 2
    assert await ids() == [1, 2, 3, 4, 5]
    assert len(uploaded_files(settings)) == 5
    assert await retain(storage, days) == planned
    # What is not finished is somebody's, who waits for it.
    assert await ids() == [2, 3, 5]
    assert len(uploaded_files(settings)) == 3
    assert await execute("SELECT * FROM tabular_predictions") == []
    assert (await retain(storage, days)).predictions == 0
    (gone, *_) = (await client.get("/predictions/1/history")).json()
    assert gone["action"] == "prediction.deleted"
    assert gone["who"] == "retention"


async def test_oldest_predictions_are_deleted_until_the_rest_fits(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    storage = await stored(client, upload, settings, 5)
    sizes = [row["size_bytes"] for row in await execute("SELECT size_bytes FROM predictions ORDER BY id")]
    enough = settings.model_copy(update={"retention_bytes": sum(sizes[2:])})
    removed = await retain(storage, enough)
    assert removed.predictions == 2
    assert removed.bytes == sum(sizes[:2])
    assert await ids() == [3, 4, 5]
    assert len(uploaded_files(settings)) == 3
    assert (await retain(storage, enough)).predictions == 0


async def test_nothing_is_deleted_without_a_limit(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    storage = await stored(client, upload, settings, 2)
    await execute("UPDATE predictions SET created_at = now() - interval '99 years'")
    assert (await retain(storage, settings)).predictions == 0
