"""A server, or a browser, for each test that wants one."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from app.config import Settings
from tests.e2e.server import Server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    """A server on a migrated embedded database; not started yet."""
    server = Server(settings, tmp_path / "server.log")
    migrated = server.command("migrate")
    assert migrated.returncode == 0, migrated.stderr
    yield server
    if hasattr(server, "process") and server.process.poll() is None:
        server.kill()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("There is no Chromium here: apt-get install chromium (as root).")
    async with async_playwright() as playwright:
        # Without its own sandbox, which root may not use; it only sees pages of ours.
        options = ["--no-sandbox", "--disable-background-networking"]
        browser = await playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        await browser.close()
