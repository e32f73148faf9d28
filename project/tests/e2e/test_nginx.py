"""The nginx configuration of docker-compose.prod.yml, with a real nginx and two web processes."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from app import PROJECT_DIR
from tests.e2e.nginx import COMMAND, Nginx
from tests.pictures import jpeg, jpeg_with
from tests.resilience.cluster import Cluster

CONFIGURATION = PROJECT_DIR / "deploy" / "nginx" / "nginx.conf"
LISTEN = "listen 8080;"
TEMPORARY = "/tmp/nginx"  # noqa: S108 - what the configuration says


class ConfiguredNginx(Nginx):
    """nginx with the real configuration, except for its address and its folders."""

    def __init__(self, folder: Path, servers: list[str]) -> None:
        self._socket = folder / "nginx.sock"
        text = CONFIGURATION.read_text()
        assert text.count(LISTEN) == 1
        text = text.replace(LISTEN, f"listen unix:{self._socket};").replace(TEMPORARY, f"{folder}/nginx")
        lines = "".join(f"    server {server.removeprefix('http://')};\n" for server in servers)
        (folder / "upstream.conf").write_text(f"upstream web {{\n    zone web 64k;\n{lines}    keepalive 32;\n}}\n")
        super().__init__(folder, text, self._socket.exists)

    def client(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)


@pytest.fixture(scope="module")
async def cluster(
    tmp_path_factory: pytest.TempPathFactory, models_dir: Path, migrated_queue_data_dir: Path
) -> AsyncIterator[Cluster]:
    """Two web processes and a worker."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), models_dir, migrated_queue_data_dir, ALLOW_ANONYMOUS="1")
    await cluster.start(1)
    cluster.add_web()
    await cluster.ready()
    yield cluster
    cluster.end()


@pytest.fixture(scope="module")
def nginx(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredNginx]:
    server = ConfiguredNginx(tmp_path_factory.mktemp("nginx"), cluster.web_urls)
    yield server
    server.stop()


def test_deployment_files_are_valid(tmp_path: Path) -> None:
    for name in ("nginx.conf", "upstream.conf"):
        text = (CONFIGURATION.parent / name).read_text().replace(TEMPORARY, f"{tmp_path}/nginx")
        (tmp_path / name).write_text(text)
    done = subprocess.run([COMMAND, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_uploads_waits_and_events_pass_through(nginx: ConfiguredNginx) -> None:
    async with nginx.client() as client:
        answer = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers={"Prefer": "wait=30"})
        assert answer.status_code == 201
        assert answer.json()["status"] == "succeeded"
        large = jpeg_with(b"\xff\xfe", bytes(60_000), 250)
        answer = await client.post("/predictions/", files={"file": ("a.jpg", large)}, headers={"Prefer": "wait=30"})
        assert answer.status_code == 201
        assert answer.json()["size_bytes"] == len(large)

        async with client.stream("GET", "/events") as response:
            lines = response.aiter_lines()
            posted = await client.post("/predictions/", files={"file": ("a.jpg", jpeg(300, 200))})
            async with asyncio.timeout(10):
                while f'"id": {posted.json()["id"]}' not in await anext(lines):
                    pass
        following = await client.get("/predictions/", params={"limit": 1})
        assert (await client.get(following.links["next"]["url"])).status_code == 200


async def test_batches_may_be_larger_and_are_not_buffered(nginx: ConfiguredNginx) -> None:
    large = [(f"{number}.jpg", jpeg_with(b"\xff\xfe", bytes(60_000), 250 + number)) for number in range(4)]
    assert sum(len(data) for _, data in large) > 32 * 2**20
    async with nginx.client() as client:
        answer = await client.post("/predictions/batch", files=[("file", one) for one in large])
        assert answer.status_code == 200
        assert answer.json()["accepted"] == 4


async def test_limits_have_the_services_error_format(nginx: ConfiguredNginx) -> None:
    async with nginx.client() as client:
        for size in (21, 40):
            answer = await client.post("/predictions/", files={"file": ("a.jpg", bytes(size * 2**20))})
            assert answer.status_code == 413
            assert answer.json()["code"] == "upload_too_large"
            assert answer.headers["content-type"] == "application/problem+json"


async def test_scheme_of_an_outer_proxy_is_kept(nginx: ConfiguredNginx) -> None:
    async with nginx.client() as client:
        for sent, is_https in (
            ({"X-Forwarded-Proto": "https"}, True),
            ({}, False),
            ({"X-Forwarded-Proto": "ftp"}, False),
        ):
            answer = await client.get("/ping", headers=sent)
            assert ("strict-transport-security" in answer.headers) == is_https, sent


async def test_connections_to_the_service_are_reused(cluster: Cluster, nginx: ConfiguredNginx) -> None:
    async with nginx.client() as client:
        for _ in range(200):
            await client.get("/ping")
    ports = {int(url.rsplit(":", 1)[1]) for url in cluster.web_urls}
    closed = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_TIME_WAIT]
    assert sum(not ports.isdisjoint({*one.laddr[1:2], *one.raddr[1:2]}) for one in closed) < 20


async def test_requests_succeed_if_one_of_two_web_processes_dies(cluster: Cluster, nginx: ConfiguredNginx) -> None:
    """The last test of the module: it kills the processes that all of them share."""
    async with nginx.client() as client:
        cluster.webs[0].kill()
        answers = [await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {201}
        cluster.webs[1].kill()
        answer = await client.get("/ping")
        assert answer.status_code == 503
        assert answer.json()["code"] == "service_unavailable"
        assert answer.headers["retry-after"] == "5"
