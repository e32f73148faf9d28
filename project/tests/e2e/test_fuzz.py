"""Fuzzes for some seconds; ``make fuzz`` takes minutes."""

import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from app import PROJECT_DIR
from tests.e2e.server import Server
from tests.fuzz import api

SECONDS = 10
MOST_GROWTH = 300 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="atheris is for Linux")
@pytest.mark.slow
def test_decoders_accept_any_bytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.decoders", str(SECONDS)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT_DIR)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stat::number_of_executed_units" in done.stderr


@pytest.mark.slow
def test_boxes_directories_archives_and_requests_of_any_shape_are_handled_within_limits() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.fuzz.shapes", str(SECONDS)],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[0]) > 50


@pytest.mark.slow
def test_api_keeps_its_contract_for_any_request(server: Server, tmp_path: Path) -> None:
    server.environment["MAX_WAIT_SECONDS"] = "1"
    url = server.start().url
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    done = subprocess.run(api.command(url, SECONDS), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "Traceback" not in server.log_text()
    assert process.memory_info().rss - before < MOST_GROWTH
    assert httpx.get(f"{url}/ready").status_code == 200
