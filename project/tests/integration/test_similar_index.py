"""The index of pgvector for similar images: with and without it, the same are found."""

from typing import Any

import asyncpg
import httpx
import numpy as np
import pytest

from app.classifier.similarity import code_of
from app.cli import similar_index
from app.cli.main import make_parser
from app.config import Settings
from app.db.advisory_locks import SIMILAR_INDEX
from app.db.connection import execute
from app.db.crud import embeddings, similar_images
from app.domain import ImageEmbedding, StartupError
from tests.drawings import circles
from tests.integration.conftest import serving
from tests.uploading import classify

FEATURES = 64
MANY = 2_000


async def insert(count: int, model: str = "m", *, seed: int = 1) -> list[ImageEmbedding]:
    """Predictions with random embeddings."""
    rng = np.random.default_rng(seed)
    vectors = [vector.tobytes() for vector in np.abs(rng.standard_normal((count, FEATURES))).astype("<f2")]
    rows = await execute(
        """
        INSERT INTO predictions (filename, image_path, content_type, size_bytes, width, height, sha256, status, model,
            model_version, attempts, created_at)
        SELECT 'a.jpg', $2 || $3::text || '-' || n, 'image/jpeg', 1, 1, 1, repeat('0', 64), 'succeeded', $2, '1', 1,
            now()
        FROM generate_series(1, $1::int) AS n RETURNING id
        """,
        [count, model, str(seed)],
    )
    made = [ImageEmbedding(model, "1", vector, code_of(vector)) for vector in vectors]
    await embeddings.save_all({row["id"]: one for row, one in zip(rows, made, strict=True)})
    return made


async def plan(embedding: ImageEmbedding) -> str:
    """How the query with the index is executed."""
    statement = similar_images.NEAREST_BY_INDEX.format(bits=FEATURES)
    values: list[Any] = [embeddings.bits(embedding), embedding.model, embedding.version, 1, 20]
    return "\n".join(row["QUERY PLAN"] for row in await execute(f"EXPLAIN {statement}", values))


async def create(database_url: str) -> None:
    await similar_index.act(database_url, "create", 64)


@pytest.mark.usefixtures("connected")
async def test_index_finds_what_comparing_all_finds(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = await insert(MANY)
    await insert(MANY, "other", seed=2)
    before = [await similar_images.nearest(made[n], n + 1, 20) for n in range(20)]
    await create(database_url)
    assert f"idx_embeddings_similar_{FEATURES}: " in capsys.readouterr().out
    await execute("ANALYZE embeddings")
    assert f"Index Scan using idx_embeddings_similar_{FEATURES}" in await plan(made[0])
    after = [await similar_images.nearest(made[n], n + 1, 20) for n in range(20)]
    assert all(len(found) == 20 for found in after)
    shared = [len(old.keys() & new.keys()) for old, new in zip(before, after, strict=True)]
    # Images whose codes differ in equally many bits are in any order.
    assert np.mean(shared) > 15


@pytest.mark.usefixtures("connected")
async def test_images_uploaded_after_the_creation_are_found(database_url: str) -> None:
    made = await insert(50)
    await create(database_url)
    (new,) = await insert(1, seed=3)
    found = await similar_images.nearest(new, 1, 5)
    assert 51 in found
    assert 51 not in await similar_images.nearest(made[0], 51, 50)


async def test_service_uses_the_index_at_once(client: httpx.AsyncClient, database_url: str) -> None:
    first, second = [(await classify(client, circles(number)))["id"] for number in range(2)]
    await create(database_url)
    found = (await client.get(f"/predictions/{first}/similar")).json()
    assert [one["prediction"]["id"] for one in found] == [second]


@pytest.mark.usefixtures("connected")
async def test_interrupted_creation_is_repeated(database_url: str) -> None:
    made = await insert(50)
    await create(database_url)
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text LIKE 'idx_emb%'")
    await connection.close()
    assert [index.is_valid for index in await similar_images.indexes()] == [False]
    assert len(await similar_images.nearest(made[0], 1, 5)) == 5
    await create(database_url)
    assert [index.is_valid for index in await similar_images.indexes()] == [True]


@pytest.mark.usefixtures("connected")
async def test_index_is_created_by_one_process_at_a_time(database_url: str) -> None:
    await insert(10)
    connection = await asyncpg.connect(database_url)
    await connection.execute("SELECT pg_advisory_lock($1)", SIMILAR_INDEX)
    with pytest.raises(StartupError, match="is being created already"):
        await create(database_url)
    await connection.close()
    await create(database_url)


@pytest.mark.parametrize("memory", ["0", "-5", "99999999", "x", "1.5"])
def test_impossible_memory_is_refused(memory: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["similar-index", "create", f"--memory={memory}"])
    assert "is not a number from 1 to 2097151" in capsys.readouterr().err


@pytest.mark.usefixtures("connected")
async def test_index_is_deleted(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await insert(10)
    await create(database_url)
    await similar_index.act(database_url, "drop")
    assert capsys.readouterr().out.splitlines()[-1].startswith("There is no index.")
    assert await similar_images.indexes() == []


@pytest.mark.usefixtures("connected")
async def test_index_needs_embeddings(database_url: str) -> None:
    with pytest.raises(StartupError, match="There are no embeddings yet"):
        await create(database_url)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(("version", "text"), [(None, "does not have pgvector"), ("0.7.4", "is too old")])
async def test_server_without_a_recent_pgvector_is_named(
    database_url: str, monkeypatch: pytest.MonkeyPatch, version: str | None, text: str
) -> None:
    async def found() -> str | None:
        return version

    await insert(1)
    monkeypatch.setattr(similar_images, "pgvector_version", found)
    with pytest.raises(StartupError, match=text):
        await create(database_url)


async def test_user_who_may_not_install_pgvector_is_told_what_to_do(settings: Settings, database_url: str) -> None:
    async with serving(settings) as client:
        await classify(client)
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute("ALTER ROLE postgres SET role = pg_database_owner")
            with pytest.raises(StartupError, match="CREATE EXTENSION vector"):
                await create(database_url)
        finally:
            await connection.execute("ALTER ROLE postgres RESET role")
            await connection.close()
