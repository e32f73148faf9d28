"""``classifier similar-index``: an index for similar images, for services with very many of them."""

import argparse
import asyncio
import time
from typing import Final

from app.config import Settings
from app.domain import StartupError

MIN_PGVECTOR: Final = (0, 8)
"""The first version with iterative index scans, which continue past rows of other models."""
MEMORY_MB: Final = 1024
MAX_MEMORY_MB: Final = 2_097_151
"""PostgreSQL's limit."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("action", choices=["create", "drop", "show"])
    parser.add_argument(
        "--memory",
        type=_memory,
        default=MEMORY_MB,
        metavar="MB",
        help="memory that the database server may use to create it (default %(default)s)",
    )


def _memory(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_MEMORY_MB:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_MEMORY_MB}")
    return int(text)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Create, delete or show the index of pgvector."""
    from app.db.connection import connected, database_url_in_use

    async def connect_and_act() -> None:
        async with database_url_in_use(settings) as url, connected(url, settings):
            await act(url, options.action, options.memory)

    asyncio.run(connect_and_act())
    return 0


async def act(url: str, action: str, memory_mb: int = MEMORY_MB) -> None:
    """Do what the command says, on the connected database. Raises StartupError or DatabaseUnavailable."""
    if action == "create":
        await _create(url, memory_mb)
    elif action == "drop":
        await _drop(url)
    await _show()


async def _create(url: str, memory_mb: int) -> None:
    from app.db.crud import similar_images

    version = await similar_images.pgvector_version()
    if version is None:
        raise StartupError(
            "The database server does not have pgvector. Similar images are found without it, only more slowly: "
            "in about 0.3 s among a million."
        )
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_PGVECTOR:
        raise StartupError(f"pgvector {version} is too old: version {'.'.join(map(str, MIN_PGVECTOR))} is required.")
    sizes = await similar_images.code_sizes()
    if not sizes:
        raise StartupError("There are no embeddings yet: upload images with KEEP_EMBEDDINGS=1 first.")
    existing = {index.name for index in await similar_images.indexes() if index.is_valid}
    for size in sizes:
        if f"{similar_images.INDEX_NAME}{size}" in existing:
            continue
        print(f"Creating the index for embeddings of {size} numbers. Uploads go on meanwhile.", flush=True)
        started_at = time.monotonic()
        await similar_images.create_index(url, size, memory_mb)
        print(f"Created in {time.monotonic() - started_at:.1f} s.")


async def _drop(url: str) -> None:
    from app.db.crud import similar_images

    for index in await similar_images.indexes():
        await similar_images.drop_index(url, index.name)


async def _show() -> None:
    from app.db.crud import similar_images

    indexes = await similar_images.indexes()
    for index in indexes:
        state = "" if index.is_valid else ", incomplete: create it again"
        print(f"{index.name}: {index.bytes / 2**20:.1f} MiB{state}")
    if not indexes:
        print("There is no index. Similar images are found by comparing all.")
