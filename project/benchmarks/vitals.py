"""``make vitals``: how soon the service is ready, how fast it answers idle and at full load, whether memory grows."""

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model
from benchmarks.client import Service, images_in
from benchmarks.contenders import PROJECT, running, until_ready
from benchmarks.machine import machine
from benchmarks.processes import free_port

PAUSE_SECONDS: Final = 0.01
STARTS: Final = 5
SINGLE_UPLOADS: Final = 200
CONNECTIONS: Final = 16
FIRST: Final = 1_000
PREDICTIONS: Final = 10_000


def main() -> int:
    """Measure, print a table, and fail where a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vitals")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--images", type=Path, required=True)
    given = parser.parse_args()
    found: list[tuple[str, float, float, str]] = []
    with tempfile.TemporaryDirectory(prefix="vitals-") as work:
        measure(given.models.resolve(), given.model, given.images.resolve(), Path(work), found.append)
    kept = True
    print("| | measured | promised at most |\n| --- | --- | --- |")
    for name, value, most, unit in found:
        kept &= value <= most
        print(f"| {name} | {value:.2f} {unit} | {most:g} {unit} |")
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))
    return 0 if kept else 1


def measure(
    models: Path, model: str, images: Path, work: Path, tell: Callable[[tuple[str, float, float, str]], None]
) -> None:
    """All of it, on one data folder."""
    port = free_port()
    # A folder with that model alone, as most services have it.
    shutil.copytree(models / model, work / "models" / model)
    variables = {
        # The same images again and again: each is to be classified.
        "REUSE_ANSWERS": "0",
        "MODELS_DIR": str(work / "models"),
        "MODEL": model,
        "DATA_DIR": str(work / "data"),
        "LOG_LEVEL": "WARNING",
    }
    variables["PORT"] = str(port)
    service = Service("127.0.0.1", port, headers="Prefer: wait=60\r\n")
    subprocess.run([sys.executable, "-m", "app", "migrate"], cwd=PROJECT, env=_environment(variables), check=True)
    starts = [_start_seconds(variables, work, port) for _ in range(STARTS)]
    tell(("start to ready, median", statistics.median(starts), 2.0, "s"))
    own = _own_milliseconds(models / model, images)
    with running([sys.executable, "-m", "app", "serve"], variables, work) as process:
        until_ready(port, process, work)
        idle = _drive(service, images, connections=1, uploads=SINGLE_UPLOADS)
        alone = 1000 * statistics.median(idle["latencies"])
        tell((f"an upload alone, in its own decode and inference ({own:.1f} ms)", alone / own, 2.0, "times"))
        _drive(service, images, connections=CONNECTIONS, uploads=FIRST)
        before = _resident(process)
        tell(("resident, all Python processes", before, 350, "MiB"))
        pings, reads = asyncio.run(_probe(port, _command(service, images, CONNECTIONS, PREDICTIONS - FIRST)))
        tell(("GET /ping under full load, p99", _p99(pings), 25, "ms"))
        tell(("GET /predictions/{id}/ under full load, p99", _p99(reads), 50, "ms"))
        tell((f"growth from {FIRST} to {PREDICTIONS} predictions", 100 * (_resident(process) / before - 1), 5, "%"))


def _start_seconds(variables: dict[str, str], work: Path, port: int) -> float:
    began = time.perf_counter()
    with running([sys.executable, "-m", "app", "serve"], variables, work) as process:
        until_ready(port, process, work)
        return time.perf_counter() - began


def _own_milliseconds(folder: Path, images: Path) -> float:
    """Median time of decoding and inference alone, on one thread."""
    classifier = Classifier(read_model(folder), threads=1)
    taken = []
    for data in list(images_in(images).values()) * 4:
        began = time.perf_counter()
        classifier.classify(data)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def _resident(process: psutil.Process) -> float:
    """MiB resident of the service and its engine; PostgreSQL has its own."""
    family = [process, *process.children(recursive=True)]
    python = [one for one in family if "python" in one.name().lower()]
    return float(sum(one.memory_info().rss for one in python)) / 2**20


def _environment(variables: dict[str, str]) -> dict[str, str]:
    return {"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", **variables}


def _command(service: Service, images: Path, connections: int, uploads: int) -> list[str]:
    return [
        *(sys.executable, "-m", "benchmarks.client", "--service", json.dumps(asdict(service)), "--images", str(images)),
        *("--seconds", "3600", "--connections", str(connections), "--uploads", str(uploads)),
    ]


def _drive(service: Service, images: Path, *, connections: int, uploads: int) -> dict[str, Any]:
    command = _command(service, images, connections, uploads)
    outcome: dict[str, Any] = json.loads(subprocess.run(command, cwd=PROJECT, check=True, stdout=-1).stdout)
    assert outcome["lost"] == 0, outcome["errors"]
    return outcome


async def _probe(port: int, load: list[str]) -> tuple[list[float], list[float]]:
    """Milliseconds that /ping and one prediction took, asked in turn for as long as a command, the load, lasts."""
    run = partial(subprocess.run, load, cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    finished = asyncio.create_task(asyncio.to_thread(run))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken: dict[str, list[float]] = {"/ping": [], "/predictions/1/": []}
    while not finished.done():
        for path, times in taken.items():
            began = time.perf_counter()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            times.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(PAUSE_SECONDS)
    writer.close()
    outcome = json.loads((await finished).stdout)
    assert outcome["lost"] == 0, outcome["errors"]
    return taken["/ping"], taken["/predictions/1/"]


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    sys.exit(main())
