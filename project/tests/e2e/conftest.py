"""A server for each test that wants one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import Settings
from tests.e2e.server import Server


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    """A server on a migrated embedded database; not started yet."""
    server = Server(settings, tmp_path / "server.log")
    migrated = server.command("migrate")
    assert migrated.returncode == 0, migrated.stderr
    yield server
    if hasattr(server, "process") and server.process.poll() is None:
        server.kill()
