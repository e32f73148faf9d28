"""A full disk."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.storage.folder import NO_ROOM
from tests.e2e.server import Server
from tests.pictures import jpeg_with
from tests.resilience.cluster import COMMENT
from tests.resilience.conftest import NewCluster

SIZE = "1m"
DATABASE_SIZE = "160m"
MIB = 2**20
CHUNK = 60_000


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system of this size."""
    folder.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("a small file system can only be mounted by root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", SIZE) as folder:
        yield folder


@pytest.fixture
def database_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "database", DATABASE_SIZE) as folder:
        yield folder


async def test_full_disk_rejects_uploads_and_leaves_nothing_half_done(
    new_cluster: NewCluster, small_disk: Path
) -> None:
    cluster = await new_cluster(UPLOADS_DIR=str(small_disk)).start(1)
    await cluster.ready()
    async with httpx.AsyncClient(base_url=cluster.web_url, timeout=30) as client:

        async def upload(number: int) -> httpx.Response:
            data = jpeg_with(COMMENT, b"%d" % number + bytes(CHUNK), 1)
            answer = await client.post("/predictions/", files={"file": ("a.jpg", data)})
            if answer.status_code == 201:
                cluster.accepted.append(answer.json()["id"])
            return answer

        answers = [await upload(number) for number in range(30)]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert len(cluster.accepted) > 5
        assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "storage_unavailable")}
        assert "the disk is full" in refused[0].json()["detail"]
        assert "Retry-After" in refused[0].headers
        ready = until(cluster.web_url, "/ready", 503)
        assert ready.json()["storage"] == NO_ROOM
        await cluster.finished()
        books = await cluster.books()
        assert books.succeeded == books.finished == len(cluster.accepted)
        assert books.rows_without_file == 0
        assert books.files_without_row == 0
        assert books.accepted_without_row == 0

        for prediction_id in cluster.accepted[:3]:
            assert (await client.delete(f"/predictions/{prediction_id}/")).status_code == 200
        assert (await upload(30)).status_code == 201
        await cluster.ready()


def fill(file: Path) -> None:
    """Use up the disk."""
    with file.open("wb", buffering=0) as output, suppress(OSError):
        while True:
            output.write(bytes(MIB // 16))


def until(url: str, path: str, status: int) -> httpx.Response:
    deadline = time.monotonic() + 60
    while (answer := httpx.get(f"{url}{path}", timeout=30)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)
    return answer


def test_full_disk_of_the_database_is_named_and_recovered_from(
    settings: Settings, database_disk: Path, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"data_dir": database_disk / "data"})
    server = Server(settings, tmp_path / "server.log", UPLOADS_DIR=str(tmp_path / "uploads"), KEEP_ORIGINALS="1")
    server.start()
    number = iter(range(1_000_000))

    def upload() -> httpx.Response:
        data = jpeg_with(COMMENT, b"%d" % next(number), 1)
        return httpx.post(f"{server.url}/predictions/", files={"file": ("x" * 200, data)}, timeout=60)

    try:
        assert upload().status_code == 201
        fill(database_disk / "filler")
        deadline = time.monotonic() + 120
        while (refused := upload()).status_code == 201:
            assert time.monotonic() < deadline, "the disk is never full"
        assert refused.status_code == 503
        ready = until(server.url, "/ready", 503)
        assert ready.json()["database"] != "ok"
        corrected = httpx.put(
            f"{server.url}/predictions/1/", json={"top_prediction": "mine", "confidence": 1}, timeout=60
        )
        assert corrected.status_code == 503
        server.stop()
        with server.log.open() as log:
            before = log.read()
        started = server.command("migrate")
        # PostgreSQL may start with a full disk, if its log of changes still has room.
        if started.returncode:
            assert "is full: free space on it" in started.stderr
            assert "Traceback" not in started.stderr
        (database_disk / "filler").unlink()
        server.start()
        until(server.url, "/ready", 200)
        assert upload().status_code == 201
        assert "Traceback" not in before + server.log_text()
    finally:
        server.kill()
