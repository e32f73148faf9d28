"""The review queue: the least certain predictions first, and a random sample."""

import asyncio
from collections.abc import Sequence

import asyncpg
import httpx
import pytest

from app.db.connection import execute
from app.db.crud import reviews
from app.db.crud.reviews import NO_FILTERS, SAMPLE_SHARE, Selection, queue_statement, unreviewed
from app.db.crud.search import Filters
from app.domain import ANYBODY
from tests.integration.conftest import SECOND_MODEL
from tests.reviewing import review
from tests.teaching import taught
from tests.uploading import classify

MANY = 400


async def insert(confidences: Sequence[float]) -> None:
    """Predictions with these confidences."""
    await execute(
        """
        INSERT INTO predictions (filename, image_path, content_type, size_bytes, width, height, sha256, status,
            top_prediction, confidence, all_predictions, model, model_version, attempts, created_at)
        SELECT 'a.jpg', 'a/' || n, 'image/jpeg', 1, 1, 1, repeat('0', 64), 'succeeded', 'tabby', confidence,
            jsonb_build_array(jsonb_build_object('label', 'tabby', 'confidence', confidence)), 'm', '1', 1, now()
        FROM unnest($1::float8[]) WITH ORDINALITY AS new (confidence, n)
        """,
        [list(confidences)],
    )


@pytest.mark.usefixtures("connected")
async def test_short_queue_ends_with_the_sample() -> None:
    await insert([0.5] * MANY)
    await reviews.review(Selection(filters=Filters(label="tabby"), limit=MANY), None, ANYBODY)
    assert [one.is_sampled for one in await unreviewed(5)] == [True] * 5


@pytest.mark.usefixtures("connected")
async def test_queue_has_the_least_certain_and_a_random_sample() -> None:
    await insert([n / MANY for n in range(MANY)])
    queue = await unreviewed(50)
    uncertain = [one.prediction.id for one in queue if not one.is_sampled]
    sampled = [one.prediction.id for one in queue if one.is_sampled]
    assert len(queue) == 50
    assert len(sampled) == 50 // SAMPLE_SHARE
    assert uncertain == sorted(uncertain)
    # Only predictions of the random sample, a tenth, may be missing among the least certain.
    assert uncertain[-1] < 70
    everything = await unreviewed(MANY)
    assert len({one.prediction.id for one in everything}) == len(everything)
    assert MANY / 20 < sum(one.is_sampled for one in everything) <= MANY / SAMPLE_SHARE
    random_order = [one.prediction.id for one in everything if one.is_sampled]
    assert random_order != sorted(random_order)


@pytest.mark.usefixtures("connected")
async def test_filter_leaves_the_random_sample_out() -> None:
    await insert([0.5] * MANY)
    sample = {one.prediction.id for one in await unreviewed(MANY * SAMPLE_SHARE) if one.is_sampled}
    selection = Selection(filters=Filters(label="tabby"), limit=MANY)
    reviewed = {row.id for row in await reviews.review(selection, None, ANYBODY)}
    assert reviewed == set(range(1, MANY + 1)) - sample


@pytest.mark.usefixtures("connected")
async def test_correction_of_a_review_stays_in_the_sample() -> None:
    await insert([0.5] * MANY)
    (first, *_) = [one.prediction.id for one in await unreviewed(MANY) if one.is_sampled]
    await reviews.review(Selection([first]), None, ANYBODY, is_sampled=True)
    await reviews.review(Selection([first]), "my cat", ANYBODY)
    assert [row["review_sampled"] for row in await execute("SELECT * FROM predictions WHERE id = $1", [first])] == [
        True
    ]


@pytest.mark.usefixtures("connected")
async def test_short_queue_has_the_least_certain() -> None:
    await insert([n / MANY for n in range(MANY)])
    assert [one.is_sampled for one in await unreviewed(1)] == [False]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("is_sampled", [False, True])
async def test_only_reviews_of_the_random_sample_count_as_such(is_sampled: bool) -> None:
    await insert([0.5] * MANY)
    sample = {one.prediction.id for one in await unreviewed(MANY * SAMPLE_SHARE) if one.is_sampled}
    await reviews.review(Selection(range(1, MANY + 1)), None, ANYBODY, is_sampled=is_sampled)
    marked = {row["id"] for row in await execute("SELECT id FROM predictions WHERE review_sampled")}
    assert marked == (sample if is_sampled else set())


@pytest.mark.usefixtures("connected")
async def test_filter_does_not_overwrite_a_review_made_at_the_same_moment(database_url: str) -> None:
    await insert([0.5] * MANY)
    (number, *_) = [one.prediction.id for one in await unreviewed(MANY) if not one.is_sampled]
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute(
            "UPDATE predictions SET reviewed_at = now(), top_prediction = 'my cat' WHERE id = $1", number
        )
        selection = Selection(filters=Filters(label="tabby"), limit=MANY)
        by_filter = asyncio.create_task(reviews.review(selection, None, ANYBODY))
        async with asyncio.timeout(10):
            while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
    await connection.close()
    reviewed = {row.id for row in await by_filter}
    assert reviewed
    assert number not in reviewed


@pytest.mark.process
async def test_reviewed_predictions_and_examples_leave_the_queue(client: httpx.AsyncClient) -> None:
    await taught(client, 3)
    reviewed, left = (await classify(client))["id"], (await classify(client))["id"]
    await review(client, ids=[reviewed], verdict="confirmed")
    queue = (await client.get("/predictions/review", params={"limit": 500})).json()
    assert [item["prediction"]["id"] for item in queue["items"]] == [left]
    assert queue["remaining"] == 1
    other = (await client.get("/predictions/review", params={"model": SECOND_MODEL})).json()
    assert other == {"remaining": 0, "items": []}


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("is_sampled", [False, True])
async def test_queue_is_read_from_an_index(is_sampled: bool) -> None:
    await insert([n / 10_000 for n in range(10_000)])
    await execute("ANALYZE predictions")
    statement, values = queue_statement(5, NO_FILTERS, is_sampled=is_sampled)
    plan = await execute(f"EXPLAIN {statement}", values)
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "Sort" not in text, text
    assert "Index Scan using idx_predictions_" in text
