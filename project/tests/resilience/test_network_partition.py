"""Two worker hosts in separate networks; one is cut off and rejoins."""

import asyncio
import logging
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import pytest

from app.db.connection import connection_options
from tests.resilience.cluster import QUICK, Cluster, all_right
from tests.resilience.conftest import NewCluster

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Host:
    """A network namespace with one link, whose outer end has ``address``."""

    name: str
    link: str
    address: str

    def cut_off(self) -> None:
        ip("link", "set", self.link, "down")

    def join(self) -> None:
        ip("link", "set", self.link, "up")


def ip(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("networks of their own need root and the command ip (Debian: iproute2)")
    made: list[Host] = []
    try:
        for number in range(2):
            # Short: a link's name has 15 characters at most. A block of addresses that is for tests (RFC 2544).
            name = f"t{uuid.uuid4().hex[:8]}"
            octet = 2 * (os.getpid() % 100) + number
            host = Host(name, f"{name}o", f"198.18.{octet}.1")
            made.append(host)
            ip("netns", "add", name)
            ip("link", "add", host.link, "type", "veth", "peer", "name", f"{name}i", "netns", name)
            ip("addr", "add", f"{host.address}/24", "dev", host.link)
            ip("link", "set", host.link, "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "addr", "add", f"198.18.{octet}.2/24", "dev", f"{name}i")
            ip("-n", name, "link", "set", f"{name}i", "up")
            ip("netns", "exec", name, "true")
        yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"networks of their own cannot be made here: {error.stderr.strip()}")
    finally:
        for host in made:
            subprocess.run(["ip", "link", "del", host.link], capture_output=True)
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True)


@asynccontextmanager
async def forwarding(address: str, database_url: str) -> AsyncIterator[int]:
    """Forwards another address to the database, which listens on a Unix socket only; returns the port."""
    options = connection_options(database_url)
    path = f"{options['host']}/.s.PGSQL.{options['port']}"
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        except OSError:
            log.debug("A connection broke")
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(path)
        for task in (asyncio.create_task(pipe(reader, back)), asyncio.create_task(pipe(there, writer))):
            pipes.add(task)
            task.add_done_callback(pipes.discard)

    server = await asyncio.start_server(connect, address, 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in pipes:
            task.cancel()
        if pipes:
            await asyncio.wait(pipes)


def add_worker_on(cluster: Cluster, host: Host, port: int) -> None:
    """A worker that connects to the database over the host's link."""
    parts = urlsplit(cluster.url)
    address = f"{parts.username}:{parts.password}@{host.address}:{port}"
    there = urlunsplit(parts._replace(netloc=address, query="sslmode=disable"))
    cluster.add_worker(before=["ip", "netns", "exec", host.name], DATABASE_URL=there)


async def alive(cluster: Cluster) -> int:
    (row,) = await cluster.execute("SELECT count(*) AS n FROM workers WHERE seen_at > now() - interval '3 seconds'")
    return int(row["n"])


async def some_taken_by_both(cluster: Cluster) -> bool:
    (row,) = await cluster.execute("SELECT count(DISTINCT queue_manager_id) AS n FROM pgqueuer WHERE status = 'picked'")
    return int(row["n"]) == 2


async def test_worker_host_is_cut_off_and_rejoins_without_double_writes(
    new_cluster: NewCluster, hosts: list[Host]
) -> None:
    cluster = await new_cluster(**QUICK).start(0)
    async with forwarding(hosts[0].address, cluster.url) as first, forwarding(hosts[1].address, cluster.url) as second:
        await asyncio.to_thread(add_worker_on, cluster, hosts[0], first)
        await asyncio.to_thread(add_worker_on, cluster, hosts[1], second)
        await cluster.ready()
        uploading = asyncio.create_task(cluster.upload(300))
        await cluster.until(lambda: some_taken_by_both(cluster))
        hosts[0].cut_off()
        await uploading
        took = await cluster.finished()
        log.info("A host was cut off: the other one had finished everything after %.1f s", took)
        hosts[0].join()
        await cluster.until(lambda: _both(cluster))
        await cluster.upload(100)
        await cluster.finished()
    books = await cluster.books()
    log.info("BoundedBuffer again: %s", books)
    all_right(books, 400)


async def _both(cluster: Cluster) -> bool:
    return await alive(cluster) == 2
