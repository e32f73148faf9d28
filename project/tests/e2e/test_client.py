"""The Python client with the real service."""

import csv
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from image_classifier_client import ClassifierError, Client, Prediction, PredictionFailed, Refused, Unreachable
from image_classifier_client.attempts import Attempts
from image_classifier_client.cli import main

from app import PROJECT_DIR
from tests.conftest import FALLBACK
from tests.e2e.server import Server
from tests.pictures import encoded, jpeg, scene
from tests.processes import engine_of, suspend
from tests.servers import free_port

pytestmark = pytest.mark.all_models


@pytest.fixture
def service(shared_server: Server) -> str:
    return shared_server.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images, a file with the wrong contents, and a text file."""
    found = tmp_path / "pictures"
    (found / "more").mkdir(parents=True)
    for number in range(10):
        place = found / "more" if number % 2 else found
        (place / f"{number}.jpg").write_bytes(encoded(scene(300 + number, 200), "JPEG"))
    (found / "broken.png").write_bytes(b"no image")
    (found / "notes.txt").write_text("no image either")
    return found


@contextmanager
def losing_answers(url: str, count: int) -> Iterator[str]:
    """A proxy that drops the first ``count`` connections after the service has responded."""
    host, port = url.removeprefix("http://").split(":")
    listening = socket.create_server(("127.0.0.1", 0))
    left = count

    def serve() -> None:
        nonlocal left
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=forward, args=(client,), daemon=True).start()

    def forward(client: socket.socket) -> None:
        nonlocal left
        with client, socket.create_connection((host, int(port))) as upstream:
            threading.Thread(target=copy, args=(client, upstream), daemon=True).start()
            first = upstream.recv(65536)
            if left > 0 and first:
                left -= 1
                client.shutdown(socket.SHUT_RDWR)
                return
            while first:
                client.sendall(first)
                first = upstream.recv(65536)

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


async def test_image_is_classified_from_a_path_or_from_bytes(service: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with Client(service) as client:
        first = client.classify(tmp_path / "a.jpg")
        second = client.classify(jpeg(), model=FALLBACK)
        assert first.filename == "a.jpg"
        assert first.status == "succeeded"
        assert first.model == FALLBACK
        assert first.top_prediction == first.labels[0].label
        assert len(first.labels) == 5
        assert second.labels == first.labels
        assert client.get(first.id) == first
        assert [one.id for one in client.predictions(limit=1)] == [second.id, first.id]
        assert client.correct(first.id, "my cat").top_prediction == "my cat"
        assert [one.id for one in client.predictions(label="my cat")] == [first.id]
        client.confirm([first.id])
        assert client.get(first.id).verdict == "confirmed"
        client.correct_all([first.id], "my dog")
        assert (client.get(first.id).top_prediction, client.get(first.id).verdict) == ("my dog", "corrected")
        client.undo_reviews([first.id])
        assert client.get(first.id).verdict is None
        client.delete(first.id)
        with pytest.raises(Refused, match="Prediction not found") as refused:
            client.get(first.id)
        assert refused.value.status == 404
        assert refused.value.code == "prediction_not_found"
        assert [model.name for model in client.models() if model.default] == [FALLBACK]
        assert client.predict("iris_random_forest")["label"]
    async with Client(service) as client:
        assert (await client.aclassify(jpeg())).labels == first.labels


def test_other_files_are_rejected_and_truncated_images_fail(service: str, tmp_path: Path) -> None:
    with Client(service) as client:
        with pytest.raises(Refused, match="File must be an image"):
            client.classify(b"no image")
        with pytest.raises(PredictionFailed) as failed:
            client.classify(jpeg()[:3000])
        assert failed.value.code == "image_unreadable"
        with pytest.raises(FileNotFoundError):
            client.classify(tmp_path / "nothing.jpg")
        with pytest.raises(Refused, match="There is no model"):
            client.classify(jpeg(), model="nothing")


def test_folder_is_classified_with_an_error_for_each_bad_file(service: str, folder: Path) -> None:
    with Client(service) as client:
        found = dict(client.classify_folder(folder))
    assert len(found) == 11
    assert {path.name for path, one in found.items() if isinstance(one, ClassifierError)} == {"broken.png"}
    assert sum(isinstance(one, Prediction) for one in found.values()) == 10


def test_upload_is_retried_after_a_lost_response_and_classified_once(service: str) -> None:
    before = len(httpx.get(f"{service}/predictions/?limit=500").json())
    with losing_answers(service, 2) as address, Client(address) as client:
        prediction = client.classify(jpeg())
    assert prediction.status == "succeeded"
    assert len(httpx.get(f"{service}/predictions/?limit=500").json()) == before + 1


def test_unreachable_service_is_reported() -> None:
    with Client("http://127.0.0.1:1", retries=1) as client, pytest.raises(Unreachable, match="2 attempts"):
        client.models()


def test_client_waits_for_the_result_by_events(server: Server) -> None:
    # Nothing is answered with an upload, so that its end comes as an event.
    server.environment["MAX_WAIT_SECONDS"] = "0"
    with Client(server.start().url) as client:
        assert client.classify(jpeg()).status == "succeeded"


async def test_client_stops_waiting_at_its_time_limit(server: Server) -> None:
    server.start()
    engine = engine_of(server.process.pid)
    suspend(engine.pid)
    accepted = httpx.post(f"{server.url}/predictions/", files={"file": jpeg()}).json()
    async with Client(server.url, timeout=1) as client:
        prediction = client.get(accepted["id"])
        assert not prediction.is_finished
        began = time.monotonic()
        with pytest.raises(Unreachable, match="not finished within 1 s"):
            client.wait(prediction)
        with pytest.raises(Unreachable, match="not finished within 1 s"):
            await client.await_finished(prediction)
        assert time.monotonic() - began < 10
        engine.resume()
        async with Client(server.url) as patient:
            assert (await patient.await_finished(prediction)).status == "succeeded"


def test_client_sends_its_api_key(server: Server) -> None:
    server.environment["ALLOW_ANONYMOUS"] = "0"
    server.start()
    key = server.command("keys", "create", "a client").stdout.splitlines()[-1]
    with Client(server.url) as client, pytest.raises(Refused, match="API key is required"):
        client.classify(jpeg())
    with Client(server.url, key) as client:
        assert client.classify(jpeg()).status == "succeeded"


def test_closing_the_iterator_waits_only_for_active_uploads(service: str, folder: Path) -> None:
    with Client(service) as client:
        asked = client.classify_all([folder / "0.jpg"] * 200, at_once=2)
        next(asked)
        asked.close()
        assert len(list(client.predictions())) < 50


def test_command_waits_for_a_service_that_starts_and_says_so(server: Server, folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "image_classifier_client.cli", str(folder), "--url", f"http://127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR / "client" / "src")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stderr
        assert client.stdout
        assert re.fullmatch(
            rf"imgclass: http://127.0.0.1:{port}: .*Connection refused. Trying again…\n", client.stderr.readline()
        )
        server.environment["PORT"] = str(port)
        server.start()
        assert client.stdout.readline().startswith(str(folder))
        client.communicate(timeout=60)


@pytest.mark.parametrize("url", ["localhost:8004", "ftp://localhost", ""])
def test_unusable_address_is_reported_at_once(folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main([str(folder), "--url", url])
    assert capsys.readouterr().err.startswith(f"imgclass: error: {url}: ")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ALL_PROXY=socks5://127.0.0.1:1080", "names a SOCKS proxy: install httpx[socks]"),
        ("ALL_PROXY=ftp://proxy.example", "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY has a value"),
        ("NO_PROXY=::1,fe80::/10", "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY has a value"),
        ("SSL_CERT_FILE=/nonexistent/ca.pem", "SSL_CERT_FILE is /nonexistent/ca.pem, which cannot be read"),
    ],
)
def test_environment_that_cannot_be_used_is_reported_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    monkeypatch.setenv(*setting.split("=", 1))
    with pytest.raises(SystemExit, match="1"):
        main([str(folder), "--url", "http://127.0.0.1:1"])
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_unknown_model_is_reported_once(service: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main([str(folder), "--url", service, "--model", "nonsense"])
    error = capsys.readouterr().err
    assert error.startswith(f"imgclass: error: {service}: there is no model nonsense; available: {FALLBACK}")
    assert error.count("\n") == 1
    assert "iris" not in error


@pytest.mark.parametrize(
    ("status", "code", "is_final"),
    [(500, None, False), (503, "database_unavailable", False), (503, "tables_missing", True), (404, None, True)],
)
def test_what_may_pass_is_retried(status: int, code: str | None, *, is_final: bool) -> None:
    response = httpx.Response(status, json={"detail": "no", "code": code})
    if is_final:
        with pytest.raises(Refused):
            Attempts(1).after_response(response)
    else:
        assert Attempts(1).after_response(response)


def test_response_of_another_server_is_reported() -> None:
    page = httpx.Response(200, html="<p>Sign in to the network</p>")
    with pytest.raises(Refused, match="not the image classifier"):
        Attempts(0).after_response(page)


def test_client_waits_out_an_earlier_attempt_that_is_in_progress() -> None:
    """Without counting it as an attempt, but not for ever."""
    attempts = Attempts(0)
    in_flight = httpx.Response(
        409, json={"detail": "in progress", "code": "idempotency_key_in_flight"}, headers={"Retry-After": "1"}
    )
    pauses = [attempts.after_response(in_flight) or 0.0 for _ in range(100)]
    assert all(0.5 < pause < 1.5 for pause in pauses)
    with pytest.raises(Unreachable):
        sum(attempts.after_response(in_flight) or 0.0 for _ in range(300))


def test_command_writes_a_csv_file(
    service: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "out.csv"
    assert main([str(folder), "--url", service, "--csv", str(table), "--model", FALLBACK]) == 1
    message = capsys.readouterr()
    assert message.out.count("\n") == 10
    assert "broken.png\terror: File must be an image" in message.err
    assert "1 of 11 images could not be classified" in message.err
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11
    assert [Path(row["file"]).name for row in rows if row["error"]] == ["broken.png"]
    assert main([str(folder / "0.jpg"), "--url", service]) == 0
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nothing"), "--url", service])
    with pytest.raises(SystemExit):
        main([str(folder / "0.jpg"), "--url", service, "--csv", str(tmp_path / "nowhere" / "out.csv")])
