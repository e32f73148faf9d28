"""Weights: search order, resumed and verified downloads from a real server on loopback."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.classifier.export import weights
from app.classifier.export.weights import WeightsUnavailable, download, mobilenet_v2_weights
from app.config import Settings
from app.domain import StartupError

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT with ranges; may interrupt a download."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.break_off_after: int | None = None
        self.understands_ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.h5"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.understands_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_off_after])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_download_is_verified_and_not_repeated(server: Server, tmp_path: Path) -> None:
    path = download(server.url, tmp_path / "new" / "weights.h5", SHA256)
    assert path.read_bytes() == CONTENT
    assert download(server.url, path, SHA256) == path
    assert server.ranges == [None]


def test_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    server.break_off_after = 300_000
    with pytest.raises(WeightsUnavailable, match=r"could not be downloaded.*set MODEL_WEIGHTS"):
        download(server.url, path, SHA256)
    assert not path.exists()
    server.break_off_after = None
    assert download(server.url, path, SHA256).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


def test_download_restarts_if_the_server_has_no_ranges(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.with_suffix(".part").write_bytes(CONTENT[:1000])
    server.understands_ranges = False
    assert download(server.url, path, SHA256).read_bytes() == CONTENT


def test_download_interrupted_at_its_end_is_complete(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.with_suffix(".part").write_bytes(CONTENT)
    assert download(server.url, path, SHA256).read_bytes() == CONTENT


def test_file_with_a_wrong_checksum_is_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="SHA-256"):
        download(server.url, tmp_path / "weights.h5", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_unreachable_server_is_reported(server: Server, tmp_path: Path) -> None:
    server.server_close()
    with pytest.raises(WeightsUnavailable, match="could not be downloaded"):
        download(server.url, tmp_path / "weights.h5", SHA256)


def test_weights_are_searched_in_order(
    server: Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(weights, "URL", server.url)
    monkeypatch.setattr(weights, "SHA256", SHA256)
    settings = settings.model_copy(update={"models_dir": tmp_path / "models"})

    downloaded = mobilenet_v2_weights(settings)
    assert downloaded.path.read_bytes() == CONTENT
    assert downloaded.sha256 == SHA256

    cached = weights.keras_cache() / weights.FILE
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"damaged")
    assert mobilenet_v2_weights(settings).path == downloaded.path
    cached.write_bytes(CONTENT)
    assert mobilenet_v2_weights(settings).path == cached

    named = tmp_path / "mine.h5"
    settings = settings.model_copy(update={"model_weights": named})
    with pytest.raises(StartupError, match="does not exist"):
        mobilenet_v2_weights(settings)
    named.write_bytes(b"mine")
    assert mobilenet_v2_weights(settings).path == named
