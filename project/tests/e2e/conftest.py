"""A server or a browser for each test that uses one."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, async_playwright

from app.config import Settings
from tests.conftest import FALLBACK, copy_data_dir, marked_models
from tests.e2e.server import Server

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The headless shell takes a third of the others' CPU time: it has no browser window to draw."""


@contextmanager
def new_server(settings: Settings, log: Path, migrated_data_dir: Path) -> Iterator[Server]:
    """A server on a copy of the migrated database; not started yet, and killed at the end."""
    copy_data_dir(migrated_data_dir, settings.data_dir)
    server = Server(settings, log)
    yield server
    if hasattr(server, "process") and server.process.poll() is None:
        server.kill()


@pytest.fixture
def server(settings: Settings, tmp_path: Path, migrated_data_dir: Path) -> Iterator[Server]:
    """A server of the test's own; not started yet."""
    with new_server(settings, tmp_path / "server.log", migrated_data_dir) as server:
        yield server


@pytest.fixture(scope="module")
def unstarted_server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, migrated_data_dir: Path
) -> Iterator[Server]:
    """A server for all tests of a module; not started yet."""
    folder = tmp_path_factory.mktemp("shared")
    settings = Settings(data_dir=folder / "data", models_dir=marked_models(request), model=FALLBACK)
    with new_server(settings, folder / "server.log", migrated_data_dir) as server:
        yield server


@pytest.fixture(scope="module")
def shared_server(unstarted_server: Server) -> Server:
    """A running server for all tests of a module. They must not stop it, nor expect an empty database."""
    return unstarted_server.start()


@pytest.fixture(scope="session")
def running_servers(
    tmp_path_factory: pytest.TempPathFactory, migrated_data_dir: Path
) -> Iterator[Callable[[Path], Server]]:
    """Returns the server that all tests of a process share for a folder of models."""
    with ExitStack() as stack:

        @cache
        def running(models: Path) -> Server:
            folder = tmp_path_factory.mktemp("running")
            settings = Settings(data_dir=folder / "data", models_dir=models, model=FALLBACK)
            return stack.enter_context(new_server(settings, folder / "server.log", migrated_data_dir)).start()

        yield running


@pytest.fixture
def empty_server(running_servers: Callable[[Path], Server], request: pytest.FixtureRequest) -> Server:
    """A running server without predictions. Tests must not stop it, nor expect that IDs begin at 1."""
    server = running_servers(marked_models(request))
    with httpx.Client(base_url=server.url) as client:
        while rows := client.get("/predictions/", params={"limit": 500}).json():
            for row in rows:
                assert client.delete(f"/predictions/{row['id']}/").status_code == HTTPStatus.OK
    return server


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A browser; each test opens a context of its own, which shares nothing with others."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("There is no Chromium here: apt-get install chromium-headless-shell (as root).")
    async with async_playwright() as playwright:
        # Without its own sandbox, which root may not use; it only sees pages of ours.
        options = ["--no-sandbox", "--disable-background-networking"]
        browser = await playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        await browser.close()
