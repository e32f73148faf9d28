"""``make hostile``: how long others wait while clients send and view files that are made to be expensive."""

import argparse
import asyncio
import itertools
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
from PIL import Image

from benchmarks.contenders import PROJECT, running, until_ready
from benchmarks.machine import machine
from benchmarks.processes import free_port
from tests.pictures import encoded, jpeg
from tests.structures import avif, items, tiff

UPLOADERS: Final = 8
VIEWERS: Final = 12
PAUSE_SECONDS: Final = 0.01
RENDERED_SIDES: Final = range(1_000, 2_000)
VICTIM: Final = jpeg(1)


def main() -> int:
    """Measure, print a table, and fail where a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hostile-") as work:
        variables = {
            "DATA_DIR": f"{work}/data",
            "MODELS_DIR": str(options.models.resolve()),
            "MODEL": options.model,
            "REUSE_ANSWERS": "0",
            "MAX_UPLOADS_EACH": "1000",
            "PORT": str(port),
            "LOG_LEVEL": "ERROR",
        }
        environment = {"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", **variables}
        subprocess.run([sys.executable, "-m", "app", "migrate"], cwd=PROJECT, env=environment, check=True)
        with running([sys.executable, "-m", "app", "serve"], variables, Path(work)) as process:
            until_ready(port, process, Path(work))
            engine, *_ = [one for one in process.children() if "app.classifier.engine.child" in one.cmdline()]
            rows = _measure(f"http://127.0.0.1:{port}", options.seconds)
            rows.append(("engines that died", 0 if engine.is_running() else 1, 0, ""))
    print("| | measured | promised at most |\n| --- | --- | --- |")
    for name, value, most, unit in rows:
        print(f"| {name} | {value:.0f} {unit} | {most:g} {unit} |")
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))
    return 0 if all(value <= most for _, value, most, _ in rows) else 1


def _measure(url: str, seconds: float) -> list[tuple[str, float, float, str]]:
    """The load comes from a process of its own, so that it does not delay the client that measures."""
    with httpx.Client(base_url=url, timeout=120) as client:
        stored = [_classified(client, data)["id"] for data in _expensive()]
        # An AVIF of 240 kB, one of 2.3 MB, and a TIFF with 2.4 million rationals.
        refused = [avif(items(12_000)), avif(items(115_000)), tiff("<", 5, 2_400_000, 19_200_000)]

        def ping() -> None:
            client.get("/ping").raise_for_status()

        def upload() -> None:
            _classified(client, VICTIM)

        quiet_pings, quiet_uploads = _during(seconds / 3, ping), _during(seconds / 3, upload)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            sending = pool.apply_async(_send, [url, seconds, refused])
            pings = _during(seconds, ping)
            sent = sending.get()
            viewing = pool.apply_async(_view, [url, seconds, stored])
            uploads = _during(seconds, upload)
            viewed = viewing.get()
    delay = _p99(uploads) - _p99(quiet_uploads)
    return [
        ("GET /ping, quiet, p99", _p99(quiet_pings), 50, "ms"),
        (f"GET /ping while {UPLOADERS} clients send {sent} hostile files, p99", _p99(pings), 50, "ms"),
        ("upload, quiet, p99", _p99(quiet_uploads), 1_000, "ms"),
        (f"delay of uploads while {VIEWERS} viewers view {viewed} expensive images, p99", delay, 1_000, "ms"),
    ]


def _classified(client: httpx.Client, data: bytes) -> dict[str, Any]:
    response = client.post("/predictions/", files={"file": ("a", data)}, headers={"Prefer": "wait=60"})
    prediction: dict[str, Any] = response.raise_for_status().json()
    assert prediction["status"] == "succeeded", prediction
    return prediction


def _send(url: str, seconds: float, files: list[bytes]) -> int:
    """Upload files that the service refuses; returns how many."""

    async def send(client: httpx.AsyncClient, number: int) -> None:
        response = await client.post("/predictions/", files={"file": ("a", files[number % len(files)])})
        assert response.status_code == HTTPStatus.BAD_REQUEST, response.text

    return asyncio.run(_repeated(url, seconds, UPLOADERS, send))


def _view(url: str, seconds: float, stored: list[int]) -> int:
    """View images, each time at another size, so that none comes from the cache; returns how many."""

    async def view(client: httpx.AsyncClient, number: int) -> None:
        size = RENDERED_SIDES[number % len(RENDERED_SIDES)]
        path = f"/predictions/{stored[number % len(stored)]}/image/"
        (await client.get(path, params={"size": size})).raise_for_status()

    return asyncio.run(_repeated(url, seconds, VIEWERS, view))


async def _repeated(
    url: str, seconds: float, clients: int, call: Callable[[httpx.AsyncClient, int], Awaitable[None]]
) -> int:
    end = time.monotonic() + seconds
    numbers = itertools.count()

    async def repeat(client: httpx.AsyncClient) -> None:
        while time.monotonic() < end:
            await call(client, next(numbers))

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await asyncio.gather(*(repeat(client) for _ in range(clients)))
    return next(numbers)


def _expensive() -> list[bytes]:
    """Files that the service accepts, but whose decoding takes as long as possible."""
    noise = Image.effect_noise((700, 700), 80).convert("RGB").resize((7_000, 7_000), Image.Resampling.NEAREST)
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"progressive": True, "quality": 60},
        "PNG": {"compress_level": 1},
        "WEBP": {"quality": 50, "method": 0},
        "AVIF": {"quality": 50, "speed": 10},
    }
    return [encoded(noise, name, **chosen) for name, chosen in options.items()]


def _during(seconds: float, call: Callable[[], None]) -> list[float]:
    """Milliseconds that each call took, one after the other."""
    end = time.monotonic() + seconds
    taken = []
    while time.monotonic() < end:
        began = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - began))
        # Probes of a client at rest: without a pause, the client itself would be the load.
        time.sleep(PAUSE_SECONDS)
    return taken


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    sys.exit(main())
