"""Where a request ends: bodies behind offers to upgrade, and ambiguous lengths, are never read as requests."""

import asyncio
import random
from typing import Any

import pytest
import uvicorn

from tests.integration.connections import address, served

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
FORM = b"--x\r\n\r\n" + SMUGGLED + SMUGGLED + b"--x--\r\n"
UPGRADES = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA",
    b"Upgrade: h2c\r\nConnection: keep-alive\r\nConnection: upgrade",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA",
    b"Connection:upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0",
    b"Connection: keep-alive,Upgrade\r\nUpgrade: anything",
)
FRAMINGS = {
    "length": (b"Content-Length: %d" % len(FORM), FORM),
    "chunks": (
        b"Transfer-Encoding: chunked",
        b"".join(b"1\r\n%c\r\n" % byte for byte in FORM) + b"0\r\n\r\n",
    ),
}


class Recorder:
    """An application that records each request with its body, and responds with 200."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes, dict[bytes, bytes]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.requests.append((scope["path"], body, dict(scope["headers"])))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def sent_in_pieces(server: uvicorn.Server, data: bytes, places: list[int]) -> bytes:
    """Send bytes, divided at these places, and return all that comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection(*address(server))
    received = asyncio.create_task(reader.read())
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        writer.write(data[start:end])
        await writer.drain()
        # Lets the server read the piece by itself.
        await asyncio.sleep(0.002)
    writer.write_eof()
    response = await received
    writer.close()
    return response


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_offer_to_upgrade_is_ignored_and_the_body_kept(upgrade: bytes, framing: str) -> None:
    """Java's HttpClient and curl --http2 offer h2c by default."""
    header, body = FRAMINGS[framing]
    head = b"POST /upload?a=1 HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n" + header + b"\r\nX-Last: yes\r\n\r\n"
    after = b"GET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    chance = random.Random(framing)  # noqa: S311 - the same every time
    whole = head + body + after
    application = Recorder()
    async with asyncio.timeout(30), served(application) as server:
        for number in range(12):
            places = sorted(chance.sample(range(1, len(whole)), k=min(number, 6)))
            places = [len(head)] if number == 6 else [len(head) - 1, len(head) + 1] if number == 7 else places
            application.requests.clear()
            response = await sent_in_pieces(server, whole, places)
            assert response.count(b"HTTP/1.1 200") == 2, response
            (path, received, headers), (next_path, _, _) = application.requests
            assert (path, received, next_path) == ("/upload", FORM, "/after"), places
            assert headers[b"x-last"] == b"yes"
            assert not {b"upgrade", b"http2-settings"}.intersection(headers)


async def test_expectation_beside_an_upgrade_is_met() -> None:
    application = Recorder()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n" % len(FORM) + UPGRADES[0]
    async with asyncio.timeout(30), served(application) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(head + b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(FORM)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert application.requests[0][1] == FORM


async def test_tunnel_is_refused_and_what_follows_is_not_read() -> None:
    application = Recorder()
    async with asyncio.timeout(30), served(application) as server:
        response = await sent_in_pieces(server, b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED, [])
    assert response.startswith(b"HTTP/1.1 501 ")
    assert response.count(b"HTTP/1.1") == 1
    assert application.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity, chunked, identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Content-Length: +5",
        b"Content-Length: 0x5",
        b"Content-Length: 5, 5",
        b"Content-Length: -1",
        b" Content-Length: 5",
        b"X: y\r\n folded: z\r\nContent-Length: 5\x0b",
        b"Content-Length: 5\nX: y",
    ],
)
async def test_ambiguous_length_is_never_read_in_two_ways(headers: bytes) -> None:
    """Another server in front may see the body end elsewhere: such a request is the connection's last, if any."""
    application = Recorder()
    async with asyncio.timeout(30), served(application) as server:
        response = await sent_in_pieces(
            server, b"POST /a HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n" + SMUGGLED, []
        )
    assert "/smuggled" not in [path for path, _, _ in application.requests]
    assert response.startswith(b"HTTP/1.1 400 "), response
