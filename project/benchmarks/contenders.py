"""The contenders: how each one is started, and its protocol."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.client import Service
from benchmarks.processes import Watchdog, free_port, processes_beside

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = REPOSITORY / "project"
START_SECONDS: Final = 120.0
ONE_THREAD: Final = {"RAYON_NUM_THREADS": "1"}
"""As in the service's engine: each thread scales its own image."""
STOP_SECONDS: Final = 20.0
LOG: Final = "log.txt"


@dataclass(frozen=True, slots=True)
class Bench:
    """What all contenders get."""

    models: Path
    model: str
    images: Path
    weights: Path
    work: Path
    seconds: float
    connections: int
    cores: int


@dataclass(frozen=True, slots=True)
class Round:
    """One contender in one round. CPU and memory include all its processes and PostgreSQL, but not the client."""

    per_second: float
    latencies: list[float]
    cpu_seconds: float
    peak_bytes: int
    lost: int
    labels: dict[str, str]
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """A service that gets one upload after the other on each connection."""

    name: str
    environment: str
    """Its virtual environment, next to the project."""
    command: tuple[str, ...]
    variables: dict[str, str]
    path: str = "/predict"
    ready: str = "/"
    headers: str = ""
    polls: bool = False
    database: bool = False
    """Whether it needs a DATABASE_URL; the service has its own database."""

    def run(self, bench: Bench) -> Round:
        """Start it, warm it up, measure it, stop it."""
        port = free_port()
        work = bench.work / self.name.replace(" ", "-")
        work.mkdir(parents=True, exist_ok=True)
        service = Service("127.0.0.1", port, self.path, self.headers, self.polls)
        with ExitStack() as stack:
            watch = stack.enter_context(Watchdog())
            if self.database:
                url = stack.enter_context(database(work))
                variables = {**self.variables, "DATABASE_URL": url}
            else:
                variables = self.variables
            given = {"PORT": str(port), "WORK": str(work), "MODELS": str(bench.models), "WEIGHTS": str(bench.weights)}
            given["MODEL"] = str(bench.models / bench.model)
            expanded = {name: value.format(**given) for name, value in variables.items()}
            command = [word.format(**given) for word in self.command]
            binary = REPOSITORY / self.environment / "bin" / command[0]
            process = stack.enter_context(running([str(binary), *command[1:]], {**expanded, "PORT": str(port)}, work))
            until_ready(port, process, work, self.ready)
            drive(service, bench, seconds=2.0)
            watch.begin()
            outcome = drive(service, bench, seconds=bench.seconds)
            watch.end()
        return Round(
            per_second=len(outcome["latencies"]) / outcome["seconds"],
            latencies=outcome["latencies"],
            cpu_seconds=watch.cpu_seconds,
            peak_bytes=watch.peak_bytes,
            lost=outcome["lost"],
            labels=outcome["labels"],
            errors=outcome["errors"],
        )


def floor(model: str) -> Any:
    """A function that measures the floor with one model."""

    def run(bench: Bench) -> Round:
        command = [
            *(sys.executable, "-m", "benchmarks.floor", "--model", str(bench.models / model)),
            *("--images", str(bench.images), "--seconds", str(bench.seconds), "--threads", str(bench.cores)),
        ]
        with Watchdog() as watch:
            watch.begin()
            done = subprocess.run(
                command,
                cwd=PROJECT,
                env={**os.environ, **ONE_THREAD},
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            watch.end()
        outcome = json.loads(done.stdout)
        per_second = len(outcome["latencies"]) / outcome["seconds"]
        cpu = outcome["cpu_seconds"]
        return Round(per_second, outcome["latencies"], cpu, watch.peak_bytes, 0, outcome["labels"])

    return run


def drive(service: Service, bench: Bench, *, seconds: float) -> dict[str, Any]:
    """Run the client in a separate process."""
    command = [
        *(sys.executable, "-m", "benchmarks.client", "--service", json.dumps(asdict(service))),
        *("--images", str(bench.images), "--seconds", str(seconds), "--connections", str(bench.connections)),
    ]
    done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


@contextmanager
def running(command: list[str], variables: dict[str, str], work: Path) -> Iterator[psutil.Process]:
    """A process that is stopped at the end with all its children."""
    others = set(psutil.pids())
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2", **variables}
    with (work / LOG).open("wb") as log:
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for left in processes_beside(others, naming=str(REPOSITORY / ".venv-bench")):
            left.kill()


@contextmanager
def database(work: Path) -> Iterator[str]:
    """An embedded PostgreSQL, like the one of the service, in a separate process."""
    folder = work / "postgres"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.database", str(folder)]
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=STOP_SECONDS)


def until_ready(port: int, process: psutil.Process, work: Path, path: str = "/ready") -> None:
    """Wait until a service responds on ``path``; ``process`` and ``work`` are those of ``running``.

    Raises SystemExit with the end of its log if it ends, or takes too long.
    """
    url = f"http://127.0.0.1:{port}{path}"
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status < 500:  # noqa: PLR2004
                    return
        except urllib.error.HTTPError as error:
            if error.code < 500:  # noqa: PLR2004
                return
        except OSError:
            pass
        has_ended = process.status() == psutil.STATUS_ZOMBIE
        if has_ended or time.monotonic() > deadline:
            reason = "it has ended" if has_ended else f"it did not respond within {START_SECONDS:g} s"
            raise SystemExit(f"error: {url}: {reason}. The end of its log:\n{(work / LOG).read_text()[-2000:]}")
        time.sleep(0.01)
