"""Webhooks and event streams while web processes, workers and PostgreSQL are killed, and clocks that jump."""

import asyncio
import base64
import contextlib
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx

from tests.resilience.cluster import QUICK, Cluster, all_right
from tests.resilience.conftest import NewCluster
from tests.resilience.test_kills import Victim, kill

log = logging.getLogger(__name__)

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PREDICTIONS = 200
SECONDS = 180
VICTIMS: tuple[Victim, ...] = ("worker", "web", "postgres")


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, Counter[int]]]:
    """A receiver of webhooks: its address, and how often each prediction was reported."""
    reported: Counter[int] = Counter()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].split("\r\n")[0])
            reported[json.loads(await reader.readexactly(length))["data"]["id"]] += 1
            writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", reported


async def test_webhooks_arrive_although_everything_is_killed(new_cluster: NewCluster) -> None:
    cluster = await new_cluster(WEBHOOK_SECRET=SECRET, WEBHOOKS_TO_PRIVATE="1", **QUICK).start(2)
    async with receiver() as (url, reported):
        for victim in VICTIMS:
            await cluster.ready()
            await cluster.upload(PREDICTIONS // 4, after=(20, partial(kill, cluster, victim)), webhook_url=url)
        await cluster.finished()

        async def all_reported() -> bool:
            # An attempt whose process died is repeated a minute later; the test does not wait for that.
            await cluster.execute(
                "UPDATE deliveries SET next_attempt_at = now() WHERE status = 'pending' AND attempts > 0"
            )
            return set(reported) >= set(cluster.accepted)

        await cluster.until(all_reported, SECONDS)
        log.info(
            "webhooks: %d reported once, %d more often",
            *(sum(count == 1 for count in reported.values()), sum(count > 1 for count in reported.values())),
        )
    assert set(reported) == set(cluster.accepted)
    all_right(await cluster.books(), PREDICTIONS // 4 * 3)


async def follow(cluster: Cluster, seen: set[int]) -> None:
    """Follow all events as a browser does: reconnect whenever the stream ends."""
    while True:
        with contextlib.suppress(httpx.HTTPError):
            async with (
                httpx.AsyncClient(timeout=30) as client,
                client.stream("GET", f"{cluster.web_url}/events") as events,
            ):
                async for line in events.aiter_lines():
                    if line.startswith("data: "):
                        event = json.loads(line.removeprefix("data: "))
                        if event.get("status") == "succeeded":
                            seen.add(event["id"])
        await asyncio.sleep(0.1)


async def test_event_streams_come_back_after_each_kill(new_cluster: NewCluster) -> None:
    cluster = await new_cluster(**QUICK).start(2)
    seen: set[int] = set()
    following = asyncio.create_task(follow(cluster, seen))
    try:
        for victim in VICTIMS:
            kill(cluster, victim)
            await cluster.ready()
            before = len(seen)

            async def heard(before: int = before) -> bool:
                await cluster.upload(1)
                return len(seen) > before

            await cluster.until(heard, SECONDS)
    finally:
        following.cancel()
        await asyncio.wait([following])
    await cluster.finished()
    assert seen <= set(cluster.accepted)


async def test_clocks_that_jump_lose_nothing(new_cluster: NewCluster) -> None:
    """Leases, heartbeats and schedules are the database's, and waits are monotonic."""
    cluster = await new_cluster(**QUICK).start(0)
    for _ in range(2):
        cluster.add_worker("tests.resilience.jumping_clock", "worker")
    await cluster.ready()
    await cluster.upload(150)
    took = await cluster.finished()
    books = await cluster.books()
    log.info("jumping clocks: all finished %.1f s later, %s", took, books)
    all_right(books, 150)
    assert books.most_attempts == 1
