"""``make scaling``: the cost of a prediction for each part of a deployment, and the throughput with 1 to 3 workers.

A model of two bounds is made from the costs of one worker, and checked against 1, 2 and 3 (``docs/scaling.md``).
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from benchmarks.client import Service
from benchmarks.contenders import PROJECT, database, running, until_ready
from benchmarks.machine import machine
from benchmarks.processes import free_port

CONNECTIONS: Final = 64
CGROUPS: Final = Path("/sys/fs/cgroup/cpu")
PERIOD: Final = 20_000
"""Microseconds of the period in which a worker may use its share of a core."""
WARM_SECONDS: Final = 3.0
SMALL: Final = 0.25
"""Share of a core of a limited worker, so that three of them leave room for the other parts."""

_STATEMENTS: Final = """
SELECT calls, query FROM pg_stat_statements WHERE calls > $1 AND query NOT LIKE '%pg_stat_statements%'
ORDER BY calls DESC
"""
_COUNTERS: Final = """
SELECT pg_current_wal_insert_lsn() - '0/0' AS wal, xact_commit, pg_total_relation_size('predictions') AS bytes
FROM pg_stat_database WHERE datname = current_database()
"""
_QUEUED: Final = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - created_at)) AS seconds
FROM predictions WHERE id > $1 AND started_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Results with a number of workers. CPU is in milliseconds per prediction."""

    workers: int
    cores_each: float
    per_second: float
    web_cpu: float
    worker_cpu: float
    engine_cpu: float
    database_cpu: float
    client_cpu: float
    wal_bytes: float
    row_bytes: float
    statements: float
    commits: float
    queued_p50: float
    queued_p99: float
    lost: int


class Deployment:
    """One web process, a database and workers of one thread each, all on this machine."""

    def __init__(self, given: argparse.Namespace, work: Path) -> None:
        self._given = given
        self._work = work
        self._port = free_port()
        self._variables = {
            "QUEUE": "pgqueuer",
            "REUSE_ANSWERS": "0",
            "MODELS_DIR": str(given.models.resolve()),
            "MODEL": given.model,
            "LOG_LEVEL": "WARNING",
            "WORKER_THREADS": "1",
            "PORT": str(self._port),
        }
        self._service = Service("127.0.0.1", self._port, headers="Prefer: wait=60\r\n")

    def measure(self, workers: int, cores_each: float) -> Run:
        """Start, warm up, measure and stop."""
        with ExitStack() as stack:
            folder = self._work / f"{workers}-{cores_each}-{time.time_ns()}"
            folder.mkdir()
            url = stack.enter_context(counting_database(folder))
            variables = {**self._variables, "DATABASE_URL": url, "UPLOADS_DIR": str(folder / "uploads")}
            subprocess.run(
                [sys.executable, "-m", "app", "migrate"],
                cwd=PROJECT,
                check=True,
                env={"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", **variables},
            )
            command = [sys.executable, "-m", "app"]
            working = []
            for number in range(workers):
                place = folder / f"worker-{number}"
                place.mkdir()
                working.append(stack.enter_context(running([*command, "worker"], variables, place)))
            web = stack.enter_context(running([*command, "serve"], variables, folder))
            until_ready(self._port, web, folder)
            if cores_each < 1:
                stack.enter_context(_slowed(working, cores_each))
            self._drive(WARM_SECONDS)
            parts = Parts([web], working, postmaster(folder))
            return asyncio.run(self._count(url, parts, workers, cores_each))

    async def _count(self, url: str, parts: "Parts", workers: int, cores_each: float) -> Run:
        connection = await asyncpg.connect(url)
        try:
            (last,) = await connection.fetch("SELECT coalesce(max(id), 0) AS id FROM predictions")
            await connection.execute("SELECT pg_stat_statements_reset()")
            (began,) = await connection.fetch(_COUNTERS)
            cpu = parts.cpu()
            outcome = await asyncio.to_thread(self._drive, self._given.seconds)
            used = {name: seconds - cpu[name] for name, seconds in parts.cpu().items()}
            (ended,) = await connection.fetch(_COUNTERS)
            done = len(outcome["latencies"])
            calls = await connection.fetch(_STATEMENTS, 0)
            if self._given.statements:
                for row in await connection.fetch(_STATEMENTS, done // 50):
                    message = " ".join(row["query"].split())
                    print(f"  {row['calls'] / done:6.3f}  {message[:150]}", file=sys.stderr)
            (queued,) = await connection.fetch(_QUEUED, last["id"])
        finally:
            await connection.close()
        each = 1000 / done
        return Run(
            workers=workers,
            cores_each=cores_each,
            per_second=done / outcome["seconds"],
            web_cpu=used["web"] * each,
            worker_cpu=used["worker"] * each,
            engine_cpu=used["engine"] * each,
            database_cpu=used["database"] * each,
            client_cpu=outcome["cpu_seconds"] * each,
            wal_bytes=float(ended["wal"] - began["wal"]) / done,
            row_bytes=(ended["bytes"] - began["bytes"]) / done,
            statements=sum(row["calls"] for row in calls) / done,
            commits=(ended["xact_commit"] - began["xact_commit"]) / done,
            queued_p50=1000 * queued["seconds"][0],
            queued_p99=1000 * queued["seconds"][1],
            lost=outcome["lost"],
        )

    def _drive(self, seconds: float) -> dict[str, Any]:
        command = [
            *(sys.executable, "-m", "benchmarks.client", "--service", json.dumps(asdict(self._service))),
            *("--images", str(self._given.images.resolve()), "--seconds", str(seconds)),
            *("--connections", str(CONNECTIONS)),
        ]
        done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE)
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome


class Parts:
    """The processes of a deployment and the CPU seconds that they have used."""

    def __init__(self, web: list[psutil.Process], workers: list[psutil.Process], server: psutil.Process) -> None:
        self._processes = {
            "web": web,
            "worker": workers,
            "engine": [child for worker in workers for child in worker.children(recursive=True)],
        }
        self._server = server

    def cpu(self) -> dict[str, float]:
        """CPU seconds by part."""
        used = {name: sum(map(_cpu_seconds, processes)) for name, processes in self._processes.items()}
        # Its processes come and go with connections; the server is told of what those that are gone have used.
        times = self._server.cpu_times()
        gone = times.children_user + times.children_system
        alive = sum(map(_cpu_seconds, [self._server, *self._server.children(recursive=True)]))
        return {**used, "database": gone + alive}


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def postmaster(folder: Path) -> psutil.Process:
    """The main process of the database in a folder."""
    (lock,) = folder.rglob("postmaster.pid")
    return psutil.Process(int(lock.read_text().split()[0]))


@contextmanager
def counting_database(folder: Path) -> Iterator[str]:
    """A database that counts its statements."""

    async def run(url: str, statement: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    with database(folder) as url:
        asyncio.run(run(url, "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'"))
    with database(folder) as url:
        asyncio.run(run(url, "CREATE EXTENSION pg_stat_statements"))
        yield url


@contextmanager
def _slowed(workers: list[psutil.Process], share: float) -> Iterator[None]:
    """Limit each worker with its engine to ``cores``, as a container's CPU limit does, with cgroups."""
    groups = []
    try:
        for worker in workers:
            group = CGROUPS / f"scaling-{worker.pid}"
            group.mkdir()
            groups.append(group)
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(int(PERIOD * share)))
            for process in (worker, *worker.children(recursive=True)):
                (group / "cgroup.procs").write_text(str(process.pid))
        yield
    finally:
        for group in groups:
            for pid in (group / "cgroup.procs").read_text().split():
                (CGROUPS / "cgroup.procs").write_text(pid)
            group.rmdir()


def predicted(costs: Run, workers: int, cores: int) -> float:
    """Predicted throughput per second: limited by the workers, or by the cores of all parts together.

    ``costs``: of one such worker. Where it has a core and more, its one thread is what bounds it, the engine's.
    """
    each = costs.engine_cpu if costs.cores_each >= 1 else (costs.worker_cpu + costs.engine_cpu) / costs.cores_each
    together = costs.web_cpu + costs.worker_cpu + costs.engine_cpu + costs.database_cpu + costs.client_cpu
    return min(workers * 1000 / each, cores * 1000 / together)


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=3, help="most of them")
    parser.add_argument("--statements", action="store_true", help="tell how often each statement was executed")
    given = parser.parse_args()
    cores = int(machine()["cores"])
    counts = range(1, given.workers + 1)
    shares = (1.0, SMALL) if os.access(CGROUPS, os.W_OK) else (1.0,)
    if len(shares) == 1:
        print(f"no workers of {SMALL} cores: {CGROUPS} cannot be written (root, cgroups v1)", file=sys.stderr)
    runs: dict[tuple[int, float], list[Run]] = {(n, share): [] for share in shares for n in counts}
    with tempfile.TemporaryDirectory(prefix="scaling-") as work:
        deployment = Deployment(given, Path(work))
        for _ in range(given.rounds):
            for (workers, share), done in runs.items():
                done.append(deployment.measure(workers, share))
                print(done[-1], file=sys.stderr, flush=True)
    print("| part | for each prediction |\n| --- | --- |")
    for name, message in _COSTS.items():
        values = [getattr(run, name) for run in runs[1, 1.0]]
        print(f"| {message.partition('|')[0]} | {format_median(values)} {message.partition('|')[2]} |")
    print("\n| workers | cores each | predicted /s | measured /s | measured / predicted | lost |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (workers, share), done in runs.items():
        # The machine's speed varies: a round is predicted from its own run of one worker.
        expected = [predicted(costs, workers, cores) for costs in runs[1, share]]
        ratios = [run.per_second / one for run, one in zip(done, expected, strict=True)]
        cells = [
            format_median(expected),
            format_median([run.per_second for run in done]),
            format_median(ratios, 2),
            sum(r.lost for r in done),
        ]
        print(f"| {workers} | {share:g} | " + " | ".join(map(str, cells)) + " |")
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))
    return 1 if any(run.lost for done in runs.values() for run in done) else 0


_COSTS: Final = {
    "web_cpu": "web process, CPU|ms",
    "worker_cpu": "worker, its event loop, CPU|ms",
    "engine_cpu": "worker, its engine, CPU|ms",
    "database_cpu": "PostgreSQL, CPU|ms",
    "client_cpu": "the benchmark's client, CPU|ms",
    "wal_bytes": "WAL|bytes",
    "row_bytes": "the row with its indexes, on disk|bytes",
    "statements": "statements|",
    "commits": "commits|",
    "queued_p50": "time in the queue, p50, 64 clients|ms",
    "queued_p99": "time in the queue, p99, 64 clients|ms",
}


def format_median(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
