"""A full disk."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.pictures import jpeg_with
from tests.resilience.cluster import COMMENT
from tests.resilience.conftest import NewCluster

SIZE = "1m"
CHUNK = 60_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("a small file system can only be mounted by root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


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
        await cluster.finished()
        books = await cluster.books()
        assert books.succeeded == books.finished == len(cluster.accepted)
        assert books.rows_without_file == 0
        assert books.files_without_row == 0
        assert books.accepted_without_row == 0

        for prediction_id in cluster.accepted[:3]:
            assert (await client.delete(f"/predictions/{prediction_id}/")).status_code == 200
        assert (await upload(30)).status_code == 201
