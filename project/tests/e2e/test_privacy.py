"""Nothing leaves the machine, and nothing is written outside of ``DATA_DIR``: every system call of a run is checked."""

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from tests.e2e.server import START_SECONDS, Server
from tests.pictures import jpeg

pytestmark = [pytest.mark.slow, pytest.mark.all_models]

CALLS = "trace=connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,symlink"
ADDRESS = re.compile(r'sa_family=AF_INET6?, .*?port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)')
SOCKET = re.compile(r'connect\(.*sa_family=AF_UNIX, sun_path="([^"]+)"')
WRITING = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT)\b")
OPENED = re.compile(r"= \d+<([^>]+)>$")
TARGET = re.compile(r'(?:mkdir|rename|link|symlink)\w*\(.*"([^"]+)"')
CACHE_OF_ACCOUNTS = "/var/run/nscd/socket"
"""glibc looks for it before it reads /etc/passwd."""
PRIVATE = re.compile(r"/(?:dev|proc|sys)/|(?:pipe|socket|anon_inode):")
"""Devices, the kernel's files, and memory that is shared between processes."""


@pytest.fixture
def models(all_models: Path, tmp_path: Path) -> Path:
    """All exported models, and one for OpenVINO: every kind and every runtime."""
    folder = tmp_path / "models"
    shutil.copytree(all_models, folder)
    int8 = folder / "mobilenet_v2_int8"
    if int8.is_dir():
        openvino = folder / "openvino"
        shutil.copytree(int8, openvino)
        manifest = (openvino / "model.toml").read_text().replace('name = "mobilenet_v2_int8"', 'name = "openvino"')
        (openvino / "model.toml").write_text(manifest.replace('runtime = "onnx"', 'runtime = "openvino"'))
    return folder


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The service's TMPDIR: short enough for a socket, which a test's own folder need not be."""
    with tempfile.TemporaryDirectory(prefix="privacy-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def trace(settings: Settings, tmp_path: Path, temporary: Path, models: Path) -> list[str]:
    """The system calls of a service that loads every model and uses each once, as a user would run it."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed (apt-get install strace)")
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)
    calls = tmp_path / "trace"
    tracer = ["strace", "-f", "-qq", "-yy", "-s", "300", "-e", CALLS, "-o", str(calls)]
    settings = settings.model_copy(update={"data_dir": tmp_path / "data", "models_dir": models})
    # Without CI, with which some libraries report nothing.
    server = Server(
        settings,
        tmp_path / "server.log",
        before=tracer,
        PYTHONDONTWRITEBYTECODE="1",
        HOME=str(tmp_path / "home"),
        TMPDIR=str(temporary),
        MODELS_LOADING="start",
    )
    assert server.command("migrate").returncode == 0
    use(server.start().url)
    os.kill(int((tmp_path / "data" / "service.lock").read_text()), signal.SIGTERM)
    assert server.process.wait(START_SECONDS) == 0
    return calls.read_text().splitlines()


def use(url: str) -> None:
    """Classify with every image model, and predict with every tabular one."""
    with httpx.Client(base_url=url, timeout=60, headers={"Prefer": "wait=50"}) as client:
        found = client.get("/models").json()
        assert {model["kind"] for model in found} == {"image", "tabular"}
        for model in found:
            assert model["error"] is None, model
            if model["kind"] == "tabular":
                assert client.get(f"/predict/{model['name']}").status_code == 200
            else:
                answer = client.post("/predictions/", files={"file": jpeg()}, data={"model": model["name"]})
                assert answer.json()["status"] == "succeeded", answer.text


def test_service_connects_to_nothing_else_and_writes_only_its_own_files(
    trace: list[str], tmp_path: Path, temporary: Path
) -> None:
    """The only connections are those to its own database, on a Unix socket; no name is resolved."""
    assert len(trace) > 1000
    assert {(address, port) for line in trace for port, address in ADDRESS.findall(line)} == set()
    sockets = {found[1] for line in trace if (found := SOCKET.search(line))} - {CACHE_OF_ACCOUNTS}
    assert sockets, "the connections to the database are missing"
    assert all(Path(path).name == ".s.PGSQL.5432" for path in sockets), sockets

    written = {found[1] for line in trace if WRITING.search(line) and (found := OPENED.search(line))}
    written |= {found[1] for line in trace if line.endswith("= 0") and (found := TARGET.search(line))}
    assert any(Path(path).is_relative_to(tmp_path / "data") for path in written)
    allowed = tmp_path / "data", temporary
    elsewhere = {
        path
        for path in written
        if Path(path).is_absolute()
        and not PRIVATE.match(path)
        and not any(Path(path).is_relative_to(folder) for folder in allowed)
    }
    assert elsewhere == set()
    assert list((tmp_path / "home").iterdir()) == []
