"""``make queue-limit``: rows per second that PostgreSQL and the queue take from 1, 2 and 4 processes.

The workers' engine answers at once. "uploads" are sent to web processes; "rows" are what a web process asks of the
database for an upload, without HTTP and images, so that more of the machine is left to the database.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from benchmarks.client import JPEG_SUFFIXES, Service
from benchmarks.contenders import PROJECT, running, until_ready
from benchmarks.machine import machine
from benchmarks.processes import free_port
from benchmarks.scaling import Parts, counting_database, format_median, postmaster

COUNTS: Final = (1, 2, 4)
KINDS: Final = ("uploads", "rows")
CONNECTIONS: Final = 64
"""Clients of all web processes together."""
WARM_SECONDS: Final = 3.0
WORKER_THREADS: Final = 4
"""Decides how many jobs a worker takes at once."""
COMMITS: Final = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


Command = Callable[[float], list[str]]
"""A command line for a number of seconds."""


@dataclass(frozen=True, slots=True)
class Run:
    """Results with a number of processes. CPU is in milliseconds per row."""

    per_second: float
    web_cpu: float
    worker_cpu: float
    database_cpu: float
    commits: float
    cores: float
    """Used by all parts and the clients together."""
    lost: float


class Deployment:
    """A database and a worker, and processes that add rows."""

    def __init__(self, given: argparse.Namespace, work: Path, kind: str, processes: int) -> None:
        self._given = given
        self._work = work
        self._kind = kind
        self._processes = processes
        self._variables = {
            "QUEUE": "pgqueuer",
            "REUSE_ANSWERS": "0",
            "MODELS_DIR": str(given.models.resolve()),
            "MODEL": given.model,
            "UPLOADS_DIR": str(work / "uploads"),
            "LOG_LEVEL": "WARNING",
            "WORKER_THREADS": str(WORKER_THREADS),
        }

    def measure(self) -> Run:
        """Start, warm up, measure and stop."""
        with ExitStack() as stack:
            url = self._variables["DATABASE_URL"] = stack.enter_context(counting_database(self._work))
            subprocess.run([sys.executable, "-m", "app", "migrate"], cwd=PROJECT, check=True, env=self._environment())
            worker = self._start(stack, "worker", ["benchmarks.instant_worker"])
            web = []
            commands: list[Command] = [self._row_writer] * self._processes
            if self._kind == "uploads":
                ports = [free_port() for _ in range(self._processes)]
                for port in ports:
                    web.append(self._start(stack, f"web-{port}", ["app", "serve"], PORT=str(port)))
                    until_ready(port, web[-1], self._work / f"web-{port}")
                commands = [partial(self._client, port) for port in ports]
            self._run(commands, WARM_SECONDS)
            return asyncio.run(self._count(url, Parts(web, [worker], postmaster(self._work)), commands))

    async def _count(self, url: str, parts: Parts, commands: Sequence[Command]) -> Run:
        connection = await asyncpg.connect(url)
        try:
            commits, cpu = await connection.fetchval(COMMITS), parts.cpu()
            outcomes = await asyncio.to_thread(self._run, commands, self._given.seconds)
            used = {name: seconds - cpu[name] for name, seconds in parts.cpu().items()}
            commits = await connection.fetchval(COMMITS) - commits
        finally:
            await connection.close()
        done = sum(outcome["done"] for outcome in outcomes)
        seconds = max(outcome["seconds"] for outcome in outcomes)
        drivers = sum(outcome["cpu_seconds"] for outcome in outcomes)
        is_rows = self._kind == "rows"
        return Run(
            per_second=done / seconds,
            web_cpu=1000 * (drivers if is_rows else used["web"]) / done,
            worker_cpu=1000 * used["worker"] / done,
            database_cpu=1000 * used["database"] / done,
            commits=commits / done,
            cores=(sum(used.values()) + drivers) / seconds,
            lost=sum(outcome["lost"] for outcome in outcomes),
        )

    def _run(self, commands: Sequence[Command], seconds: float) -> list[dict[str, Any]]:
        """Run all commands at once; returns what each has printed."""
        running_commands = [
            subprocess.Popen(command(seconds), cwd=PROJECT, env=self._environment(), stdout=subprocess.PIPE)
            for command in commands
        ]
        outcomes = []
        for command in running_commands:
            printed, _ = command.communicate()
            if command.returncode:
                raise SystemExit(f"error: {command.args!r} ended with status {command.returncode}")
            outcomes.append(json.loads(printed))
        for outcome in outcomes:
            outcome.setdefault("done", len(outcome.get("latencies", ())))
        return outcomes

    def _client(self, port: int, seconds: float) -> list[str]:
        service = json.dumps(asdict(Service("127.0.0.1", port, headers="Prefer: wait=60\r\n")))
        return [
            *(sys.executable, "-m", "benchmarks.client", "--service", service, "--seconds", str(seconds)),
            *("--images", str(self._given.images.resolve()), "--connections", str(CONNECTIONS // self._processes)),
        ]

    def _row_writer(self, seconds: float) -> list[str]:
        image = min(path for path in self._given.images.resolve().iterdir() if path.suffix.lower() in JPEG_SUFFIXES)
        return [
            *(sys.executable, "-m", "benchmarks.row_writer", "--image", str(image), "--seconds", str(seconds)),
            *("--connections", str(CONNECTIONS // self._processes)),
        ]

    def _start(self, stack: ExitStack, name: str, module: list[str], **variables: str) -> psutil.Process:
        folder = self._work / name
        folder.mkdir()
        return stack.enter_context(running([sys.executable, "-m", *module], {**self._variables, **variables}, folder))

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", **self._variables}


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue_limit")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    runs: dict[tuple[str, int], list[Run]] = {(kind, count): [] for kind in KINDS for count in COUNTS}
    for _ in range(given.rounds):
        for (kind, count), done in runs.items():
            with tempfile.TemporaryDirectory(prefix="queue-limit-") as work:
                done.append(Deployment(given, Path(work), kind, count).measure())
            print(kind, count, done[-1], file=sys.stderr, flush=True)
    print("| | processes | " + " | ".join(_COLUMNS.values()) + " |\n|" + " --- |" * (len(_COLUMNS) + 2))
    for (kind, count), done in runs.items():
        cells = [
            format_median([getattr(run, name) for run in done], 0 if name == "per_second" else 1) for name in _COLUMNS
        ]
        print(f"| {kind} | {count} | " + " | ".join(cells) + " |")
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))
    return 1 if any(run.lost for done in runs.values() for run in done) else 0


_COLUMNS: Final = {
    "per_second": "rows/s",
    "web_cpu": "web, CPU ms",
    "worker_cpu": "worker, CPU ms",
    "database_cpu": "PostgreSQL, CPU ms",
    "commits": "commits",
    "cores": "cores used",
}


if __name__ == "__main__":
    sys.exit(main())
