"""Overload: every request gets a response, and memory stays bounded."""

import asyncio
import logging
import time
from collections import Counter

import httpx
import psutil
import pytest

from tests.pictures import jpeg_with
from tests.resilience.cluster import COMMENT, Cluster, all_right
from tests.resilience.conftest import NewCluster

# The peak of the memory is measured while 2,000 clients send as fast as they can.
pytestmark = pytest.mark.alone

log = logging.getLogger(__name__)

CLIENTS = 2_000
UPLOAD_BYTES = 1_000_000
RECEIVING_BYTES = 32 * 2**20
LISTING_SECONDS = 0.5
"""Time between two lists of the service's processes: each reads those of the whole machine."""
MOST_GROWTH = 300 * 2**20
"""2,000 uploads are 2,000 MB, 500 of them 500. There is room for 32, the worker keeps 64, connections need some."""


def request(number: int) -> bytes:
    """The raw bytes of an upload request."""
    data = jpeg_with(COMMENT, b"%d" % number + bytes(60_000), UPLOAD_BYTES // 60_000)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = head + data + b"\r\n--x--\r\n"
    return (
        b"POST /predictions/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body


async def send(cluster: Cluster, number: int, gate: asyncio.Event) -> tuple[int, int | None]:
    """Status and Retry-After of one upload; the connection is open before the gate is."""
    host, port = cluster.web_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await gate.wait()
    writer.write(request(number))
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    status = int(lines[0].split(" ")[1])
    if status == 201:
        cluster.accepted.append(int(body.split(b'"id":')[1].split(b",")[0]))
    waits = [int(line.split(":")[1]) for line in lines if line.startswith("retry-after:")]
    return status, waits[0] if waits else None


async def watch_memory(pid: int, until: "asyncio.Task[object]") -> int:
    """Peak memory of a process and its children, in bytes."""
    most, listed_at = 0, -LISTING_SECONDS
    while not until.done():
        if time.monotonic() >= listed_at + LISTING_SECONDS:
            listed_at = time.monotonic()
            processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        most = max(most, sum(process.memory_info().rss for process in processes if process.is_running()))
        await asyncio.wait([until], timeout=0.05)
    return most


@pytest.mark.parametrize("queue", ["local", "pgqueuer"])
async def test_overload_of_2000_concurrent_clients_loses_nothing(new_cluster: NewCluster, queue: str) -> None:
    cluster = await new_cluster(
        QUEUE=queue, MAX_PENDING="500", MAX_RECEIVING_BYTES=str(RECEIVING_BYTES), WORKER_THREADS="2"
    ).start(1 if queue == "pgqueuer" else 0)
    await cluster.ready()
    pid = cluster.webs[0].process.pid
    gate = asyncio.Event()
    sending = asyncio.gather(*(send(cluster, number, gate) for number in range(CLIENTS)))
    all_sent = asyncio.ensure_future(asyncio.wait_for(sending, 120))
    before = psutil.Process(pid).memory_info().rss + sum(
        child.memory_info().rss for child in psutil.Process(pid).children(recursive=True)
    )
    gate.set()
    most = await watch_memory(pid, all_sent)
    answers = await all_sent
    await cluster.finished()
    counts = Counter(status for status, _ in answers)
    waits = [wait or 0 for status, wait in answers if status == 503]
    log.info("%s: %s, grown by %d MB at most", queue, dict(counts), (most - before) / 1e6)
    log.info("Retry-After: %s to %s s", min(waits), max(waits))
    assert set(counts) == {201, 503}
    assert counts[201] >= 500
    assert 1 <= min(waits) <= max(waits) <= 300
    assert most - before < MOST_GROWTH
    all_right(await cluster.books(), counts[201], keyed=False)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{cluster.web_url}/ready")).status_code == 200
