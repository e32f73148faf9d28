"""Fixtures of all tests. ``make test`` passes the folder of models; tests create everything else themselves."""

import asyncio
import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from app import cgroups
from app.config import Settings
from app.db.embedded import embedded_postgres
from app.db.migrations import migrate
from app.worker.job_queue import install

SHARED_IMAGES = Path(__file__).resolve().parents[3] / "shared" / "images"
FALLBACK = "efficientnet_lite0"
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest creates a folder of its own there
GARBAGE_OBJECTS = 10_000
"""New objects that start a search for reference cycles. The default of Python 3.11, 700, takes 2 % of the CPU time."""
ROOM_BYTES = 2 * 2**30
"""Free memory for each process of tests from which their files are kept there; they take up to 0.9 GiB."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory where there is room, unless a place is given.

    They create a database every few hundred milliseconds, each of 300 files. Where others have just been removed, ext4
    takes 85 ms for that, and memory 7 ms.
    """
    is_given = config.option.basetemp or {"PYTEST_DEBUG_TEMPROOT", "TMPDIR"} & set(os.environ)
    processes = getattr(config.option, "numprocesses", None) or 1
    if not is_given and _has_room(IN_MEMORY, ROOM_BYTES * processes):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(IN_MEMORY)


def _has_room(folder: Path, size: int) -> bool:
    """Whether files of a size can be kept, and executed, in a folder in memory."""
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    limit = cgroups.memory_limit() or psutil.virtual_memory().total
    return min(shutil.disk_usage(folder).free, psutil.virtual_memory().available, limit) >= size


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Distribute tests over processes: slow ones first, and those that share a module's fixtures to one process.

    Browser tests come before resilience tests, one of which adds network interfaces: Chromium would cancel requests.
    """
    for item in items:
        if item.path.parent.name == "resilience":
            item.add_marker(pytest.mark.slow)
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        if any(fixture[-1].scope == "module" for fixture in fixtures):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail if pytest-xdist ignores the groups, as it did with pytest 9.2: fixtures would run once in each process."""
    if getattr(session.config.option, "loadgroup", False):
        for item in session.items:
            assert "@" in item.nodeid or not item.get_closest_marker("xdist_group"), f"{item.nodeid} has no group"
    # Modules and tests stay until the end: collections skip them, and run less often.
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of the machine, and a developer's ``.env``, do not reach a test."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def all_models() -> Path:
    """The folder with all exported models."""
    folder = os.environ.get("TEST_MODELS_DIR")
    if not folder:
        pytest.exit("The tests need exported models: run `make test`.", returncode=2)
    return Path(folder)


@pytest.fixture(scope="session")
def models_dir(all_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fallback model alone, since every service that starts checks each model of its folder.

    Tests marked ``all_models`` get services with all of them.
    """
    folder = tmp_path_factory.mktemp("models")
    (folder / FALLBACK).mkdir()
    for file in (all_models / FALLBACK).iterdir():
        shutil.copy(file, folder / FALLBACK)
    return folder


@pytest.fixture(scope="session")
def mobilenet_weights() -> Path:
    """MobileNetV2's weights; skips the test if they are missing."""
    weights = os.environ.get("TEST_WEIGHTS")
    if not weights:
        pytest.skip("MobileNetV2's weights are not here: set MODEL_WEIGHTS and run `make test`")
    return Path(weights)


@pytest.fixture(scope="session")
def labelled_images() -> Path:
    """The 40 labelled pictures; skips the test if they are missing."""
    if not SHARED_IMAGES.is_dir():
        pytest.skip(f"the labelled pictures are not here ({SHARED_IMAGES})")
    return SHARED_IMAGES


def marked_models(request: pytest.FixtureRequest) -> Path:
    """The folder of models for the services of a test or module."""
    marker = request.node.get_closest_marker("all_models")
    folder: Path = request.getfixturevalue("all_models" if marker else "models_dir")
    return folder


@cache
def _common_settings(models_dir: Path) -> Settings:
    """Cached: reading the environment takes 5 ms."""
    # Most tests send the same picture again and again, and want it classified.
    return Settings(models_dir=models_dir, model=FALLBACK, reuse_answers=False, testing=True, port=0)


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings with the test's own data folder and the fallback model."""
    return _common_settings(marked_models(request)).model_copy(update={"data_dir": tmp_path / "data"})


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL for the whole run: ``TEST_DATABASE_URL``, or an embedded one."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    # The server outlives the event loop of any one test, so it gets one of its own.
    with asyncio.Runner() as runner:
        server = embedded_postgres(tmp_path_factory.mktemp("postgres"), 60)
        url = runner.run(server.__aenter__())
        runner.run(_do_without_safety(url))
        yield url
        runner.run(server.__aexit__(None, None, None))


@pytest.fixture(scope="session")
async def migrated_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``DATA_DIR`` with a migrated embedded database, to be copied: creating one takes seconds."""
    folder = tmp_path_factory.mktemp("migrated") / "data"
    folder.mkdir()
    async with embedded_postgres(folder, 60) as url:
        await migrate(url, Settings(data_dir=folder))
    return folder


@pytest.fixture(scope="session")
async def migrated_queue_data_dir(migrated_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the tables of ``QUEUE=pgqueuer``."""
    folder = tmp_path_factory.mktemp("migrated-queue") / "data"
    copy_data_dir(migrated_data_dir, folder)
    async with embedded_postgres(folder, 60) as url:
        await install(url)
    return folder


def copy_data_dir(folder: Path, to: Path) -> None:
    """Copy a ``DATA_DIR``. As root, its database belongs to another account; cp keeps the owner."""
    subprocess.run(["cp", "--archive", f"{folder}/.", to], check=True)


async def _do_without_safety(url: str) -> None:
    """Turn fsync off, and hash the password once: nothing has to survive a power failure, or be kept secret.

    Tests create hundreds of databases, and open thousands of connections.
    """
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER SYSTEM SET fsync = off")
    await connection.execute("SELECT pg_reload_conf()")
    # By default, a client hashes the password 4,096 times: 0.9 ms.
    await connection.execute("SET scram_iterations = 1")
    user, password = urlsplit(url).username, urlsplit(url).password
    await connection.execute(f"ALTER USER {user} PASSWORD '{password}'")
    await connection.close()
