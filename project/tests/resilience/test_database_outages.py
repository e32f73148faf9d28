"""Requests while PostgreSQL is killed repeatedly succeed or get 503, never 500."""

import asyncio
import itertools
import os
import random
import signal
import time
from http import HTTPStatus

import httpx
import pytest

from tests.pictures import jpeg_with
from tests.resilience.cluster import COMMENT, QUICK, Cluster, all_right
from tests.resilience.conftest import NewCluster

SECONDS = 10
BETWEEN_KILLS = (0.5, 1.5)
QUESTIONS = (
    "/predictions/",
    "/predictions/{id}/",
    "/predictions/{id}/history",
    "/predictions/{id}/?wait=1",
    "/statistics",
    "/models",
    "/metrics",
    "/ready",
)


class Traffic:
    """Uploads and reads until a deadline; accepted uploads are recorded in the cluster."""

    def __init__(self, cluster: Cluster, client: httpx.AsyncClient) -> None:
        self.ends = time.monotonic() + SECONDS
        self.refused = 0
        self._cluster = cluster
        self._client = client
        self._numbers = itertools.count()

    @property
    def over(self) -> bool:
        return time.monotonic() > self.ends

    async def ask(self, method: str, path: str, **sent: object) -> httpx.Response:
        answer = await self._client.request(method, f"{self._cluster.web_url}{path}", **sent)  # type: ignore[arg-type]
        assert answer.status_code in {*range(200, 500), HTTPStatus.SERVICE_UNAVAILABLE}, (
            f"{method} {path}: {answer.status_code}{self._cluster.logs()}"
        )
        self.refused += answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        return answer

    async def upload(self) -> None:
        while not self.over:
            image = {"file": ("a.jpg", jpeg_with(COMMENT, b"%d" % next(self._numbers), 1))}
            answer = await self.ask("POST", "/predictions/", files=image)
            if answer.status_code == HTTPStatus.CREATED:
                self._cluster.accepted.append(answer.json()["id"])

    async def question(self, path: str) -> None:
        while not self.over:
            some = random.choice(self._cluster.accepted or [1])  # noqa: S311 - no secret
            await self.ask("GET", path.format(id=some))

    async def kill(self) -> None:
        """Kill every PostgreSQL some time after it accepted connections."""
        while not self.over:
            await self._cluster.until(self._answering)
            await asyncio.sleep(random.uniform(*BETWEEN_KILLS))  # noqa: S311
            os.kill(self._cluster.postmaster(), random.choice([signal.SIGKILL, signal.SIGINT]))  # noqa: S311

    async def _answering(self) -> bool:
        return bool(await self._cluster.execute("SELECT 1"))


@pytest.mark.parametrize("queue", ["local", "pgqueuer"])
async def test_repeatedly_killed_database_causes_503_and_never_500(new_cluster: NewCluster, queue: str) -> None:
    cluster = await new_cluster(QUEUE=queue, **QUICK).start(1 if queue == "pgqueuer" else 0)
    async with httpx.AsyncClient(timeout=30) as client:
        traffic = Traffic(cluster, client)

        uploads = [traffic.upload() for _ in range(6)]
        questions = [traffic.question(path) for path in QUESTIONS]
        await asyncio.gather(traffic.kill(), *uploads, *questions)
    await cluster.finished()
    all_right(await cluster.books(), len(cluster.accepted), keyed=False)
    assert traffic.refused > 0
    assert "Traceback" not in cluster.logs(last=None)
