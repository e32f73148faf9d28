"""``make similar``: how fast similar images are found among many, and how many of the nearest are found.

Embeddings of random crops of real pictures are mixed to as many as wanted. The answers of the service's own query, with
and without the index, are compared with the nearest by all numbers of all embeddings.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import asyncpg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.api.similar import CANDIDATES, LIMIT
from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model
from app.classifier.similarity import code_of, similarities, unit
from app.cli import similar_index
from app.config import Settings
from app.db.connection import connected, execute
from app.db.crud import embeddings, similar_images
from app.db.embedded import embedded_postgres
from app.db.migrations import migrate
from app.domain import ImageEmbedding
from benchmarks.machine import machine
from tests.pictures import encoded

CROPS: Final = 30
"""Of each picture."""
SUFFIXES: Final = {".jpg", ".jpeg"}
BLOCK: Final = 20_000
NOISE: Final = 0.12
SAVED_TOGETHER: Final = 8
SAVED: Final = 1_000
SCAN_QUERIES: Final = 20
QUERIES: Final = 100
MODEL: Final = "mobilenet_v2"

Floats = NDArray[np.float32]
Halfs = NDArray[np.float16]


def crops(folder: Path, models: Path) -> Floats:
    """Embeddings of random crops of the pictures in a folder: shape (crops, features)."""
    classifier = Classifier(read_model(models / MODEL), 2)
    chance = random.Random(1)  # noqa: S311 - a benchmark # nosec B311
    found = []
    for path in sorted(one for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        for _ in range(CROPS):
            width, height = (int(side * chance.uniform(0.35, 1)) for side in picture.size)
            left, top = chance.randint(0, picture.width - width), chance.randint(0, picture.height - height)
            part = picture.crop((left, top, left + width, top + height)).rotate(chance.uniform(-25, 25))
            outputs = classifier.outputs(classifier.decode(encoded(part, "JPEG")))
            assert outputs.embedding is not None
            found.append(outputs.embedding)
    return np.array(found, np.float32)


def mixed(real: Floats, count: int) -> Iterator[Halfs]:
    """Blocks of mixtures of three embeddings each, with noise."""
    chance = np.random.default_rng(0)
    for at in range(0, count, BLOCK):
        size = min(BLOCK, count - at)
        shares = chance.dirichlet((3, 1.2, 0.8), size).astype(np.float32)
        parts = (shares[:, n : n + 1] * real[chance.integers(0, len(real), size)] for n in range(3))
        noise = NOISE * chance.standard_normal((size, real.shape[1]), dtype=np.float32)
        yield np.maximum(sum(parts) + noise, 0).astype("<f2")


async def fill(url: str, real: Floats, count: int) -> None:
    """Predictions with these embeddings."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        """
        INSERT INTO predictions (filename, image_path, content_type, size_bytes, width, height, sha256, status, model,
            model_version, attempts, created_at)
        SELECT 'a.jpg', n, 'image/jpeg', 1, 1, 1, repeat('0', 64), 'succeeded', 'm', '1', 1, now()
        FROM generate_series(1, $1::int) AS n
        """,
        count + 2 * SAVED,
        timeout=3600,
    )
    first = 1
    for block in mixed(real, count):
        made = [ImageEmbedding("m", "1", vector.tobytes(), code_of(vector.tobytes())) for vector in block]
        await connection.copy_records_to_table(
            "embeddings",
            columns=["prediction_id", "model", "model_version", "vector", "code"],
            records=[(first + n, "m", "1", one.vector, embeddings.bits(one)) for n, one in enumerate(made)],
            timeout=3600,
        )
        first += len(made)
    await connection.execute("VACUUM ANALYZE embeddings", timeout=3600)
    await connection.close()


def nearest(real: Floats, count: int, numbers: Sequence[int]) -> tuple[Halfs, list[set[int]]]:
    """The embeddings with these numbers, and the IDs of the predictions nearest to each."""
    asked = np.concatenate(
        [block[[n - at for n in numbers if at <= n < at + len(block)]] for at, block in _at(real, count)]
    )
    units = unit(asked.astype(np.float32))
    scores = np.concatenate([units @ unit(block.astype(np.float32)).T for _, block in _at(real, count)], axis=1)
    scores[np.arange(len(numbers)), list(numbers)] = -2
    best = np.argpartition(-scores, LIMIT, axis=1)[:, :LIMIT]
    return asked, [{int(n) + 1 for n in row} for row in best]


def _at(real: Floats, count: int) -> Iterator[tuple[int, Halfs]]:
    return ((n * BLOCK, block) for n, block in enumerate(mixed(real, count)))


async def measure(name: str, numbers: Sequence[int], asked: Halfs, exact: Sequence[set[int]]) -> None:
    """Print the time of a query, and the share of the nearest that it finds."""
    seconds, shares = [], []
    for number, vector, wanted in zip(numbers, asked, exact, strict=False):
        embedding = ImageEmbedding("m", "1", vector.tobytes(), code_of(vector.tobytes()))
        started_at = time.perf_counter()
        found = await similar_images.nearest(embedding, number + 1, CANDIDATES)
        scored = sorted(zip(similarities(embedding.vector, list(found.values())), found, strict=True), reverse=True)
        seconds.append(time.perf_counter() - started_at)
        shares.append(len(wanted & {one for _, one in scored[:LIMIT]}) / LIMIT)
    times = sorted(1000 * one for one in seconds)
    print(
        f"{name}: {statistics.median(times):.0f} ms (median; at most {times[-1]:.0f}), "
        f"recall {statistics.mean(shares):.3f} of the {LIMIT} nearest, {len(times)} queries",
        flush=True,
    )


async def save(name: str, real: Floats, first: int) -> None:
    """Print the time to store embeddings, as uploads do."""
    block = next(mixed(real, SAVED))
    made = [ImageEmbedding("m", "1", vector.tobytes(), code_of(vector.tobytes())) for vector in block]
    started_at = time.perf_counter()
    for at in range(0, SAVED, SAVED_TOGETHER):
        await embeddings.save_all({first + at + n: one for n, one in enumerate(made[at : at + SAVED_TOGETHER])})
    print(f"{name}: {1000 * (time.perf_counter() - started_at) / SAVED:.2f} ms for each stored embedding", flush=True)
    # They are not among the nearest that are compared with.
    await execute("DELETE FROM embeddings WHERE prediction_id >= $1", [first])


async def run(given: argparse.Namespace) -> None:
    """Fill a database, and measure without and with the index."""
    print(machine())
    real = crops(given.images, given.models)
    numbers = sorted(int(n) for n in np.random.default_rng(1).choice(given.count, QUERIES, replace=False))
    asked, exact = nearest(real, given.count, numbers)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        async with embedded_postgres(settings.data_dir, 60) as url:
            await migrate(url, settings)
            await fill(url, real, given.count)
            async with connected(url, settings):
                print(f"{given.count:,} embeddings of {real.shape[1]} numbers, from {len(real)} crops")
                await measure("All compared", numbers[:SCAN_QUERIES], asked, exact)
                await save("Without an index", real, given.count + 1)
                await similar_index.act(url, "create")
                await measure("With the index", numbers, asked, exact)
                await save("With the index", real, given.count + SAVED + 1)


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1_000_000)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
