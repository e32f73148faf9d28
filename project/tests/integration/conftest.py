"""The real application on a real PostgreSQL: one database for each test, cloned from a migrated template."""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import psutil
import pytest
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from app.classifier.engine.model_check import ModelProbe
from app.classifier.fingerprint import stamps_of
from app.config import Settings
from app.db.connection import connected as connect
from app.db.migrations import migrate
from app.main import create_application
from app.storage.keys import OWNER
from tests import uploading
from tests.conftest import FALLBACK
from tests.integration.shared_processes import SHARED, RememberingProbe, RunningProcesses


def of_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def execute(url: str, *statements: str) -> None:
    """Run statements outside of a transaction."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database to clone."""
    name = f"template_{uuid.uuid4().hex}"

    async def make() -> None:
        await execute(postgres_url, f'CREATE DATABASE "{name}"')
        await migrate(of_database(postgres_url, name), Settings(database_wait_seconds=10))

    asyncio.run(make())
    yield name
    asyncio.run(execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


NewDatabase = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(scope="session")
async def new_database(postgres_url: str) -> AsyncIterator[NewDatabase]:
    """Creates databases, empty or like a template, that are dropped after a block; yields their URLs.

    Uses one connection, which is replaced if it breaks: opening one takes 5 ms, and each database needs two.
    """
    async with asyncpg.create_pool(postgres_url, min_size=0, max_size=1) as pool:

        @asynccontextmanager
        async def new(template: str | None = None) -> AsyncIterator[str]:
            name = f"test_{uuid.uuid4().hex}"
            source = f' TEMPLATE "{template}" STRATEGY FILE_COPY' if template else ""
            await pool.execute(f'CREATE DATABASE "{name}"{source}')
            yield of_database(postgres_url, name)
            await pool.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

        yield new


@pytest.fixture
async def database_url(new_database: NewDatabase, template: str) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with new_database(template) as url:
        yield url


@pytest.fixture
async def empty_database_url(new_database: NewDatabase) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    async with new_database() as url:
        yield url


@pytest.fixture
def settings(settings: Settings, database_url: str) -> Settings:
    """The common settings, with the test's database."""
    return settings.model_copy(update={"database_url": SecretStr(database_url)})


@pytest.fixture(scope="session", autouse=True)
async def _shared_processes(models_dir: Path, all_models: Path, two_models_dir: Path) -> AsyncIterator[None]:
    SHARED.folders = {models_dir, all_models, two_models_dir}
    yield
    await SHARED.stop()


@asynccontextmanager
async def serving(settings: Settings, *, own_processes: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the real application, which starts and stops as in a server, but for the processes that read images.

    ``own_processes``: it does not use those of other tests.
    """
    running: RunningProcesses = {} if own_processes else await SHARED.running_for(settings)
    application = create_application(settings, **running)
    lifespan = application.router.lifespan_context(application)
    with patch("app.worker.dispatch_local.ModelProbe", RememberingProbe if running else ModelProbe):
        async with lifespan as state:

            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                scope["state"] = dict(state or {})
                await application(scope, receive, send)

            transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8004") as client:
                yield client


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the real application."""
    async with serving(settings) as client:
        yield client


def uploaded_files(settings: Settings) -> list[Path]:
    """Paths of all stored images."""
    return [path for path in settings.uploads.rglob("*") if path.is_file() and path.name != OWNER]


def processes() -> list[psutil.Process]:
    """The running processes that read images for the service, without those that tests share."""
    children = [one for one in psutil.Process().children() if one.pid not in SHARED.pids()]
    return [one for one in children if _reads_images(one)]


def _reads_images(process: psutil.Process) -> bool:
    try:
        return "app.classifier.engine.child" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        # It has ended just now.
        return False


def limit(process: psutil.Process, name: str) -> int:
    """A hard limit of a process, as its name in /proc/PID/limits; prlimit(2) may not be allowed for other accounts."""
    lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(name))
    return int(line.removeprefix(name).split()[1])


@pytest.fixture
async def connected(settings: Settings, database_url: str) -> AsyncIterator[None]:
    """A database connection without an application."""
    async with connect(database_url, settings):
        yield


@pytest.fixture(scope="session")
def export_python() -> str:
    """The Python interpreter with TensorFlow."""
    python = os.environ.get("TEST_EXPORT_PYTHON")
    if not python:
        pytest.exit("The tests compare with Keras: run `make test`.", returncode=2)
    return python


class Upload(Protocol):
    """Uploads bytes and returns the response."""

    async def __call__(self, data: bytes, name: str = "picture.jpg", **headers: str) -> httpx.Response:
        """One upload; when it returns, the prediction is finished: the transport waits for background tasks."""


@pytest.fixture
def upload(client: httpx.AsyncClient) -> Upload:
    """Uploads through the client."""

    async def post(data: bytes, name: str = "picture.jpg", **headers: str) -> httpx.Response:
        return await uploading.upload(client, data, name=name, headers=headers)

    return post


SECOND_MODEL = "second"


def copy_model(models: Path, folder: Path, name: str = FALLBACK) -> Path:
    """Copy the fallback model from a folder of models into another one, under this name; returns its folder."""
    path = folder / name
    path.mkdir()
    for file in (models / FALLBACK).iterdir():
        shutil.copy(file, path)
    manifest = (path / "model.toml").read_text().replace(f'name = "{FALLBACK}"', f'name = "{name}"', 1)
    (path / "model.toml").write_text(manifest)
    return path


@pytest.fixture(scope="session")
def two_models_dir(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the fallback model and another one, a copy of it. Fails at the end if a test has changed it."""
    folder = tmp_path_factory.mktemp("two-models")
    for name in (FALLBACK, SECOND_MODEL):
        copy_model(models_dir, folder, name)
    before = [stamps_of(folder / name) for name in (FALLBACK, SECOND_MODEL)]
    yield folder
    assert [stamps_of(folder / name) for name in (FALLBACK, SECOND_MODEL)] == before


AddModel = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of models."""
    path = tmp_path / "models"
    path.mkdir()
    return path


@pytest.fixture
def add_model(models_dir: Path, folder: Path) -> AddModel:
    """Adds a copy of the fallback model under another name."""

    def add(name: str = FALLBACK, **files: bytes) -> Path:
        path = copy_model(models_dir, folder, name)
        for file_name, content in files.items():
            (path / file_name.replace("_toml", ".toml")).write_bytes(content)
        return path

    return add


@pytest.fixture
async def two_model_client(settings: Settings, two_models_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application with another model, a copy of the fallback model."""
    async with serving(settings.model_copy(update={"models_dir": two_models_dir})) as client:
        yield client
