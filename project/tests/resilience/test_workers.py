"""Workers that stop, crash, or are suspended while others take over."""

import asyncio
import logging
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.pictures import jpeg_with
from tests.processes import engine_of, suspend
from tests.resilience.cluster import COMMENT, QUICK, Cluster, all_right
from tests.resilience.conftest import NewCluster
from tests.resilience.crashing_worker import POISON

log = logging.getLogger(__name__)

AWAY_SECONDS = 15
"""Longer than the heartbeat and the poll together: every job looks orphaned when the database is back."""
CRASHING = "tests.resilience.crashing_worker"


async def statuses(cluster: Cluster) -> dict[str, int]:
    rows = await cluster.execute("SELECT status, count(*) AS count FROM predictions GROUP BY 1")
    return {row["status"]: row["count"] for row in rows}


async def some_in_hand(cluster: Cluster) -> bool:
    return "processing" in await statuses(cluster)


async def upload_and_work(cluster: Cluster, count: int) -> None:
    """Upload while the workers are suspended, and return while they have jobs in hand and most are pending."""
    for worker in cluster.workers:
        suspend(worker.process.pid)
    await cluster.upload(count)
    for worker in cluster.workers:
        worker.send(signal.SIGCONT)
    await cluster.until(lambda: some_in_hand(cluster))


async def test_sigterm_finishes_active_jobs_and_takes_no_more(new_cluster: NewCluster) -> None:
    cluster = await new_cluster().start(1)
    await upload_and_work(cluster, 150)
    began = time.monotonic()
    assert cluster.workers[0].stop() == 0
    log.info("SIGTERM: ended after %.2f s", time.monotonic() - began)
    left = await statuses(cluster)
    assert "processing" not in left
    assert left["pending"] > 0, "it was to be stopped in the middle"
    jobs = await cluster.execute("SELECT status::text FROM pgqueuer")
    assert {job["status"] for job in jobs} == {"queued"}
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{cluster.web_url}/ready")
    assert answer.status_code == 503
    assert "start `./classifier worker`" in answer.json()["worker"]
    cluster.add_worker()
    await cluster.finished()
    books = await cluster.books()
    all_right(books, 150)
    assert books.most_attempts == 1


async def test_shutdown_releases_unfinished_jobs_without_counting_the_attempt(new_cluster: NewCluster) -> None:
    cluster = await new_cluster(SHUTDOWN_SECONDS="0").start(1)
    await upload_and_work(cluster, 150)
    assert cluster.workers[0].stop() == 0
    assert "Traceback" not in cluster.workers[0].log.read_text()
    assert "processing" not in await statuses(cluster)
    cluster.add_worker()
    await cluster.finished()
    books = await cluster.books()
    all_right(books, 150)
    assert books.most_attempts == 1


async def test_second_sigterm_ends_the_worker_at_once(new_cluster: NewCluster) -> None:
    cluster = await new_cluster(SHUTDOWN_SECONDS="3600", **QUICK).start(1)
    await upload_and_work(cluster, 150)
    worker = cluster.workers[0]
    # Its engine stands still, so what is in hand would never be finished.
    children = await asyncio.to_thread(_children, worker.process.pid)
    for child in children:
        suspend(child)
    worker.send(signal.SIGTERM)
    await cluster.until(lambda: _says(worker.log.read_text(), "Stopping"))
    assert worker.process.poll() is None
    worker.send(signal.SIGTERM)
    assert worker.process.wait(2) == 1
    for child in children:
        os.kill(child, signal.SIGKILL)
    cluster.add_worker()
    await cluster.finished()
    all_right(await cluster.books(), 150)


async def _says(message: str, what: str) -> bool:
    return what in message


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_suspended_worker_cannot_write_after_takeover(new_cluster: NewCluster) -> None:
    """Its leases expire while it is suspended, and another worker finishes its jobs."""
    cluster = await new_cluster(**QUICK).start(1)
    await upload_and_work(cluster, 200)
    (still,) = cluster.workers
    suspend(still.process.pid)
    while not await some_in_hand(cluster):
        still.send(signal.SIGCONT)
        await cluster.until(lambda: some_in_hand(cluster))
        suspend(still.process.pid)
    cluster.add_worker()
    await cluster.finished()
    taken_over = await cluster.execute("SELECT id FROM predictions WHERE interruptions > 0")
    still.send(signal.SIGCONT)
    # It has something to say about each of them, and nobody listens.
    await cluster.until(lambda: _says(still.log.read_text(), "was deleted or taken over by another attempt"))
    await cluster.upload(50)
    await cluster.finished()
    books = await cluster.books()
    log.info("SIGSTOP and SIGCONT: %d were taken over, %s", len(taken_over), books)
    assert taken_over
    all_right(books, 250)


async def test_image_that_kills_its_worker_fails_and_delays_no_others(new_cluster: NewCluster) -> None:
    cluster = await new_cluster(**QUICK).start(0)
    for _ in range(2):
        cluster.add_worker(CRASHING)
    await cluster.ready()
    poison = await cluster.upload_one(jpeg_with(COMMENT, POISON, 1))
    uploading = asyncio.create_task(cluster.upload(200))
    finished = asyncio.create_task(_all_finished(cluster, uploading))
    died = await cluster.restart_dead_workers(finished, CRASHING)
    await finished
    books = await cluster.books()
    log.info("An image that kills its worker: %d workers died, %s", died, books)
    # Workers also die for other reasons, so it takes more than three deaths to blame an image.
    assert died == 11
    (row,) = await cluster.execute("SELECT status, interruptions, error_code FROM predictions WHERE id = $1", poison)
    assert tuple(row) == ("failed", 10, "attempts_exhausted")
    assert books.succeeded == 200
    assert books.failed == 1
    assert books.written_twice == 0
    assert books.rows_without_file == 0


async def _all_finished(cluster: Cluster, uploading: "asyncio.Task[None]") -> None:
    await uploading
    await cluster.finished()


# Beside other tests, a worker may resume so late that its jobs are taken over, which counts as an attempt.
@pytest.mark.alone
async def test_worker_waits_for_an_unavailable_database(new_cluster: NewCluster) -> None:
    cluster = await new_cluster().start(2)
    await upload_and_work(cluster, 150)
    # Who would start it again stands still.
    cluster.database.send(signal.SIGSTOP)
    os.kill(cluster.postmaster(), signal.SIGKILL)
    await asyncio.sleep(AWAY_SECONDS)
    cluster.database.send(signal.SIGCONT)
    took = await cluster.finished()
    books = await cluster.books()
    log.info("PostgreSQL away for %d s: finished %.1f s after, %s", AWAY_SECONDS, took, books)
    all_right(books, 150)
    assert books.most_attempts == 1
    for process in [*cluster.workers, *cluster.webs]:
        assert process.process.poll() is None, process.log.read_text()


async def test_worker_reconnects_after_a_restart_of_postgresql(new_cluster: NewCluster) -> None:
    cluster = await new_cluster().start(2)
    await cluster.upload(300, after=(150, lambda: os.kill(cluster.postmaster(), signal.SIGINT)))
    await cluster.finished()
    books = await cluster.books()
    all_right(books, 300)
    assert books.most_attempts == 1


async def test_every_web_process_reports_changes_of_the_others(new_cluster: NewCluster) -> None:
    cluster = await new_cluster().start(1)
    watched, done_by = cluster.web_urls[0], cluster.add_web()
    await cluster.ready()
    async with httpx.AsyncClient(timeout=30) as client, client.stream("GET", f"{watched}/events") as response:
        lines = response.aiter_lines()
        await anext(lines)
        image = {"file": ("a.jpg", jpeg_with(COMMENT, b"another's", 1))}
        answer = await client.post(f"{done_by}/predictions/", files=image, headers={"Prefer": "wait=30"})
        await client.delete(f"{done_by}{answer.headers['location']}")
        message = ""
        async with asyncio.timeout(30):
            while '"deleted"' not in message:
                message += await anext(lines)
    for status in ("pending", "processing", "succeeded", "deleted"):
        assert f'"id": {answer.json()["id"]}, "status": "{status}"' in message


async def test_jobs_of_a_hung_engine_go_to_another_worker(new_cluster: NewCluster) -> None:
    cluster = await new_cluster(**QUICK).start(2)
    await upload_and_work(cluster, 150)
    engine = engine_of(cluster.workers[0].process.pid)
    suspend(engine.pid)
    # Ten missing heartbeats, and a second in which jobs are repeated.
    took = await cluster.finished()
    books = await cluster.books()
    log.info("a hung engine: all finished after %.1f s, %s", took, books)
    all_right(books, 150)
    assert not engine.is_running()
    assert "has not responded for 10 s; killing it" in cluster.workers[0].log.read_text()


async def test_worker_waits_for_a_database_that_is_away_while_it_starts(new_cluster: NewCluster) -> None:
    cluster = await new_cluster(**QUICK).start(0)
    postmaster = cluster.postmaster()
    suspend(postmaster)
    starting = asyncio.create_task(asyncio.to_thread(cluster.add_worker))
    async with asyncio.timeout(30):
        while not (cluster.workers and cluster.workers[0].log.exists()):
            await asyncio.sleep(0.1)
        while "Waiting for the database" not in cluster.workers[0].log.read_text():
            await asyncio.sleep(0.1)
    os.kill(postmaster, signal.SIGCONT)
    await starting
    assert "Traceback" not in cluster.workers[0].log.read_text()
    await cluster.ready()
    await cluster.upload(5)
    await cluster.finished()
    all_right(await cluster.books(), 5)
