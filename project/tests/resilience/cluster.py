"""A cluster of real processes on one machine: PostgreSQL, web processes, workers, and a record of all results."""

import asyncio
import contextlib
import os
import re
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from app import PROJECT_DIR
from app.storage.keys import OWNER
from tests.conftest import FALLBACK, copy_data_dir
from tests.pictures import jpeg_with
from tests.processes import start_python, wait_while_running

START_SECONDS = 60
FINISH_SECONDS = 240
POLL_SECONDS = 0.05
FINISHED_POLL_SECONDS = 0.2
"""Each look at the database is a new connection, which takes 8 ms of CPU time."""
LONGEST_WAIT = 90
"""Seconds that a client may wait for its upload to be accepted, whatever dies. Alone on a machine it is below 30; here
four tests share two cores."""
KEYS_SENT_AGAIN = 20
COMMENT = b"\xff\xfe"

# Whatever writes an answer, twice or once, is written down here by the database itself.
BOOKS = """
CREATE TABLE written (id bigint NOT NULL, status text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO written (id, status) VALUES (NEW.id, NEW.status);
    RETURN NULL;
END
$$;
CREATE TRIGGER books AFTER INSERT OR UPDATE OF completed_at ON predictions FOR EACH ROW
    WHEN (NEW.status IN ('succeeded', 'failed')) EXECUTE FUNCTION write_down();
"""


QUICK = {"HEARTBEAT_SECONDS": "1", "RECOVER_SECONDS": "0.5"}
"""Settings with which what was lost is found at once."""


@dataclass(frozen=True)
class Books:
    """Outcome of all uploads; the tests check each figure."""

    accepted: int
    finished: int
    succeeded: int
    failed: int
    written_twice: int
    rows_without_file: int
    files_without_row: int
    accepted_without_row: int
    most_attempts: int
    longest_wait: float
    """Seconds from the first attempt of an upload to its 201."""
    keys_with_two_ids: int
    """Idempotency keys whose upload, sent again, led to another prediction."""


class Process:
    """One process of the cluster; its log goes to a file."""

    def __init__(
        self, name: str, module: Sequence[str], environment: dict[str, str], folder: Path, before: Sequence[str] = ()
    ) -> None:
        """``module``: what Python runs, with its arguments. ``before``: a prefix of the command."""
        self.name = name
        self._module = module
        self._before = before
        self._environment = environment
        self.log = folder / f"{name}.log"

    def start(self, message: str) -> str:
        """Start and wait until the log matches; returns the first group, or the whole match."""
        self.process = start_python(self._module, self._environment, self.log, before=self._before)
        found = wait_while_running(
            self.process,
            lambda: re.search(message, self.log.read_text()),
            lambda: f"{self.name}: {self.log.read_text()}",
            START_SECONDS,
        )
        assert found
        return found[found.lastindex or 0]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(START_SECONDS)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.process.wait(START_SECONDS)


class Cluster:
    """All data is in one folder; ``settings`` are environment variables."""

    def __init__(self, folder: Path, models_dir: Path, migrated_data_dir: Path, **settings: str) -> None:
        self.folder = folder
        self._migrated_data_dir = migrated_data_dir
        self.uploads = Path(settings.get("UPLOADS_DIR", str(folder / "uploads")))
        python = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT_DIR)}
        self.environment = {
            **python,
            "MODELS_DIR": str(models_dir),
            "MODEL": FALLBACK,
            "UPLOADS_DIR": str(self.uploads),
            "QUEUE": "pgqueuer",
            "PORT": "0",
            "WORKER_THREADS": "1",
            "KEEP_ORIGINALS": "1",  # where the bytes are comments
            **settings,
        }
        self.database = Process("database", ["tests.resilience.database", str(folder)], python, folder)
        self.workers: list[Process] = []
        self.webs: list[Process] = []
        self.web_urls: list[str] = []
        self.accepted: list[int] = []
        self.longest_wait = 0.0
        self.refusal = ""
        self._keys: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        """Idempotency keys of accepted uploads, with the prediction, the image and the form's other fields."""
        self._made = 0

    async def start(self, workers: int = 1) -> "Cluster":
        """Start a database, one web process and workers."""
        copy_data_dir(self._migrated_data_dir, self.folder)
        self.url = self.database.start(r"(postgres://\S+)\n")
        self.environment["DATABASE_URL"] = self.url
        connection = await asyncpg.connect(self.url)
        await connection.execute(BOOKS)
        await connection.close()
        for _ in range(workers):
            self.add_worker()
        self.add_web()
        return self

    def add_worker(self, *command: str, before: Sequence[str] = (), **settings: str) -> Process:
        """Start another worker. ``before``: a prefix of its command."""
        self._made += 1
        module = command or ("app", "worker")
        worker = Process(f"worker-{self._made}", module, {**self.environment, **settings}, self.folder, before)
        self.workers.append(worker)
        worker.start("Consuming jobs")
        return worker

    async def restart_dead_workers(self, until: "asyncio.Task[Any]", *command: str) -> int:
        """Restart dead workers, as a container engine does, until a task is done; returns the number of deaths."""
        died = 0
        while not until.done():
            for worker in self.workers[:]:
                if worker.process.poll() is not None:
                    died += 1
                    self.workers.remove(worker)
                    self.add_worker(*command)
            await asyncio.wait([until], timeout=0.2)
        return died

    def add_web(self, **settings: str) -> str:
        """Start another web process, with settings of its own, and return its address."""
        self._made += 1
        web = Process(f"web-{self._made}", ["app", "serve"], {**self.environment, **settings}, self.folder)
        self.webs.append(web)
        self.web_url = web.start(r"Serving on (http://\S+)")
        self.web_urls.append(self.web_url)
        return self.web_url

    def end(self) -> None:
        """Kill all processes, and stop the database with its server."""
        for process in [*self.workers, *self.webs]:
            if process.process.poll() is None:
                process.send(signal.SIGCONT)
                process.kill()
        if hasattr(self.database, "process") and self.database.process.poll() is None:
            self.database.send(signal.SIGCONT)
            self.database.stop()

    def postmaster(self) -> int:
        """The PID of the PostgreSQL server."""
        return int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])

    async def execute(self, statement: str, *values: Any) -> list[Any]:
        """Query the database directly."""
        connection = await asyncpg.connect(self.url)
        try:
            rows: list[Any] = await connection.fetch(statement, *values)
            return rows
        finally:
            await connection.close()

    async def upload_one(self, data: bytes) -> int:
        """Upload one image and return its id."""
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{self.web_url}/predictions/", files={"file": ("a.jpg", data)})
        assert answer.status_code == 201, answer.text
        self.accepted.append(answer.json()["id"])
        return self.accepted[-1]

    async def ready(self) -> None:
        """Wait until the service is ready."""

        async def is_ready() -> bool:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.web_url}/ready")).status_code == HTTPStatus.OK

        await self.until(is_ready)

    async def upload(
        self,
        count: int,
        at_once: int = 16,
        after: "tuple[int, Callable[[], object]] | None" = None,
        **fields: str,
    ) -> None:
        """Upload ``count`` different images; after ``after`` of them were accepted, run an action.

        One that is refused, or gets no answer, is sent again with its key: that is what clients do. ``fields``: of the
        form.
        """
        numbers = iter(range(count))
        first = len(self.accepted)

        async def send(client: httpx.AsyncClient) -> None:
            for number in numbers:
                data = jpeg_with(COMMENT, f"number {first + number}".encode(), 1)
                began, key = time.monotonic(), uuid.uuid4().hex
                while (accepted := await self._send(client, key, data, fields)) is None:
                    assert time.monotonic() < began + FINISH_SECONDS, f"refused for too long: {self.refusal}"
                    await asyncio.sleep(0.2)
                self.accepted.append(accepted)
                self._keys[key] = accepted, data, fields
                self.longest_wait = max(self.longest_wait, time.monotonic() - began)
                if after and len(self.accepted) - first == after[0]:
                    after[1]()

        async with httpx.AsyncClient(timeout=30) as client:
            await asyncio.gather(*(send(client) for _ in range(at_once)))

    async def _send(self, client: httpx.AsyncClient, key: str, data: bytes, fields: dict[str, str]) -> int | None:
        """Send an upload with its key; returns the ID, or None if it has to be sent again."""
        sent: dict[str, Any] = {
            "files": {"file": ("a.jpg", data)},
            "data": fields,
            "headers": {"Idempotency-Key": key},
        }
        try:
            answer = await client.post(f"{self.web_url}/predictions/", **sent)
        except httpx.TransportError:
            return None
        if answer.status_code == HTTPStatus.CREATED:
            return int(answer.json()["id"])
        assert answer.status_code in {HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE}, answer.text + self.logs()
        assert "Retry-After" in answer.headers
        self.refusal = answer.text
        return None

    async def _keys_with_two_ids(self) -> int:
        async with httpx.AsyncClient(timeout=30) as client:
            sample = list(self._keys.items())[-KEYS_SENT_AGAIN:]
            again = [(number, await self._send(client, key, data, fields)) for key, (number, data, fields) in sample]
        return sum(number != second for number, second in again)

    async def finished(self, seconds: float = FINISH_SECONDS) -> float:
        """Wait until all predictions are finished; returns the seconds."""
        began = time.monotonic()
        await self.until(self._none_open, seconds, FINISHED_POLL_SECONDS)
        return time.monotonic() - began

    async def _none_open(self) -> bool:
        return not await self.execute("SELECT 1 FROM predictions WHERE status IN ('pending', 'processing') LIMIT 1")

    async def until(
        self, condition: Callable[[], Awaitable[bool]], seconds: float = FINISH_SECONDS, poll: float = POLL_SECONDS
    ) -> None:
        """Wait for a condition; the database may be unavailable meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if await condition():
                    return
            assert time.monotonic() < deadline, await self._logs()
            await asyncio.sleep(poll)

    async def _logs(self) -> str:
        rows = await self.execute("SELECT status, attempts, count(*) FROM predictions GROUP BY 1, 2 ORDER BY 1, 2")
        jobs = await self.execute("SELECT status, count(*) FROM pgqueuer GROUP BY 1")
        return f"{[tuple(row) for row in rows]} {[tuple(row) for row in jobs]}{self.logs()}"

    def logs(self, last: int | None = 5000) -> str:
        """The logs of all processes, or their last characters."""
        start = None if last is None else -last
        return "".join(f"\n--- {one.name}\n{one.log.read_text()[start:]}" for one in [*self.webs, *self.workers])

    async def books(self) -> Books:
        """The outcome of all uploads."""
        keys_with_two_ids = await self._keys_with_two_ids()
        rows = await self.execute("SELECT id, status, attempts, image_path FROM predictions")
        twice = await self.execute("SELECT id FROM written GROUP BY id HAVING count(*) > 1")
        files = {str(path.relative_to(self.uploads)) for path in self.uploads.rglob("*") if path.is_file()} - {OWNER}
        named = {row["image_path"] for row in rows}
        statuses = [row["status"] for row in rows]
        return Books(
            accepted=len(self.accepted),
            finished=statuses.count("succeeded") + statuses.count("failed"),
            succeeded=statuses.count("succeeded"),
            failed=statuses.count("failed"),
            written_twice=len(twice),
            rows_without_file=len(named - files),
            files_without_row=len(files - named),
            accepted_without_row=len(set(self.accepted) - {row["id"] for row in rows}),
            most_attempts=max((row["attempts"] for row in rows), default=0),
            longest_wait=self.longest_wait,
            keys_with_two_ids=keys_with_two_ids,
        )


def all_right(books: Books, predictions: int, longest_wait: float = LONGEST_WAIT, *, keyed: bool = True) -> None:
    """``keyed``: every upload had a key, so none has two rows although it was sent again."""
    assert books.accepted == predictions
    assert books.accepted_without_row == 0
    assert books.succeeded == books.finished
    assert (books.finished == predictions) if keyed else (books.finished >= predictions)
    assert books.longest_wait < longest_wait
    assert books.keys_with_two_ids == 0
    assert books.failed == 0
    assert books.written_twice == 0
    assert books.rows_without_file == 0
