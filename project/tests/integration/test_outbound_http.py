"""Requests to addresses that clients supply: hosts with several addresses, and TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest
import trustme

from app.domain import ImageNotFetched, StartupError
from app.outbound.http_client import NO_CONNECTION, SafeHttpClient
from app.outbound.image_download import ImageDownloader
from tests.pictures import jpeg

SECONDS = 10
HOST = "pictures.example"


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        # Only tried whether this address can be reached.
        writer.close()
        return
    data = jpeg()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    await writer.drain()
    writer.close()


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server of one picture on 127.0.0.1; yields its port."""
    server = await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextmanager
def resolving_to(*addresses: str) -> Iterator[None]:
    """HOST resolves to these addresses, in this order."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: object, **options: object) -> object:
        if host != HOST:
            return real(host, port, *args, **options)  # type: ignore[arg-type]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    with patch("socket.getaddrinfo", resolve):
        yield


@contextmanager
def silent(port: int) -> Iterator[str]:
    """An address that answers no attempt to connect: its queue is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.2", port))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.2", port))
        yield "127.0.0.2"


async def get(url: str) -> int:
    client = SafeHttpClient(to_private=True)
    async with client.stream("GET", url, headers={}, idle_timeout=SECONDS) as response:
        await response.aread()
        return response.status_code


@pytest.mark.parametrize("others", [["127.0.0.3"], ["::1"], ["127.0.0.3", "::1"], []])
async def test_all_addresses_of_a_host_are_tried(others: list[str]) -> None:
    async with serving() as port, asyncio.timeout(SECONDS):
        with resolving_to(*others, "127.0.0.1"):
            assert await get(f"http://{HOST}:{port}/") == 200


async def test_address_that_does_not_answer_delays_little() -> None:
    async with serving() as port, asyncio.timeout(SECONDS):
        with silent(port) as address, resolving_to(address, "127.0.0.1"):
            assert await get(f"http://{HOST}:{port}/") == 200


async def test_host_without_a_reachable_address_is_an_error() -> None:
    async with serving() as port:
        pass
    with resolving_to("127.0.0.1", "127.0.0.3"), pytest.raises(NO_CONNECTION):
        await get(f"http://{HOST}:{port}/")


async def test_reason_of_a_failed_tls_connection_is_told() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert(HOST).configure_cert(context)
    downloader = ImageDownloader(from_private=True)
    for tls, reason in ((context, r"its certificate is not valid \("), (None, r"TLS failed \(")):
        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=tls)
        url = f"https://{HOST}:{server.sockets[0].getsockname()[1]}/a.jpg"
        async with server:
            with resolving_to("127.0.0.1"), pytest.raises(ImageNotFetched, match=reason):
                await downloader.download(url, 2**20)


async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that speaks first, and does not speak TLS unless its socket does."""
    writer.write(b"220 ready\r\n")
    writer.close()


async def test_certificates_of_the_environment_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    (tmp_path / "root.pem").write_bytes(authority.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    async with serving(context) as port:
        with resolving_to("127.0.0.1"):
            assert await get(f"https://{HOST}:{port}/") == 200
        with pytest.raises(httpx.ConnectError, match=r"IP address mismatch"):
            await get(f"https://127.0.0.1:{port}/")


def test_missing_certificates_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/root.pem")
    with pytest.raises(StartupError, match="SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: No such file"):
        SafeHttpClient(to_private=True)
