"""Connections: bodies are read on request, and malformed requests get responses."""

import asyncio
import json
import logging
from typing import Any

import pytest
import uvicorn

from app.api import connection
from app.api.connection import DEFAULT_HEAD_BYTES, INITIAL_READ_BYTES, ConnectionProtocol
from app.api.early_response import LINGER_BYTES
from app.api.head_limits import MAX_FIELDS, MAX_URL_BYTES
from app.observability import metrics
from tests.integration.connections import address, served

BODY = bytes(range(256)) * 8_000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


class Hesitant:
    """An application that reads a body on a signal and responds with its length."""

    def __init__(self) -> None:
        self.begun, self.may_read = asyncio.Event(), asyncio.Event()
        self.received = b""
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = scope["headers"]
        self.begun.set()
        await self.may_read.wait()
        self.received, more = b"", True
        while more:
            message = await receive()
            self.received += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_body_is_read_only_on_request() -> None:
    application = Hesitant()
    async with served(application) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        for _ in range(2):  # on the same connection
            application.begun.clear()
            application.may_read.clear()
            writer.write(HEAD + BODY)
            await application.begun.wait()
            (connection,) = server.server_state.connections
            assert isinstance(connection, ConnectionProtocol)
            assert 0 < len(connection.cycle.body) <= INITIAL_READ_BYTES
            application.may_read.set()
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
            assert application.received == BODY
        writer.close()


@pytest.mark.parametrize("sent", [b"what is this?\r\n\r\n", CLIENT_HELLO, b"GET / HTTP/1.1\r\nHost\r\n\r\n"])
async def test_malformed_request_gets_a_problem_document_and_a_log_line(
    caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    def counted() -> float:
        count: float = metrics.REQUESTS.labels("other", "elsewhere", 400)._value.get()
        return count

    before = counted()
    async with asyncio.timeout(30), served(Hesitant()) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        with caplog.at_level(logging.INFO, "app"):
            writer.write(sent)
            answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert status == "http/1.1 400 bad request"
    assert headers["content-type"] == "application/problem+json"
    assert int(headers["content-length"]) == len(body)
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert "HTTP/1.1" in json.loads(body)["detail"]
    assert counted() - before == 1
    (line,) = [record for record in caplog.records if record.name == "app.api.middleware.request_log"]
    assert line.getMessage() == "other elsewhere 400 after 0.0 ms"
    assert vars(line)["request_id"] == headers["x-request-id"]


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS: list[tuple[str, bytes, bytes, int]] = [
    ("start line", b"GET /", b"x" * 1000, 414),
    ("method", b"", b"G" * 1000, 400),
    ("header name", b"GET / HTTP/1.1\r\n", b"x" * 1000, 431),
    ("header value", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"x" * 1000, 431),
    ("headers", b"GET / HTTP/1.1\r\n", b"X-A: %b\r\n" % (b"x" * 1000), 431),
    ("short headers", b"GET / HTTP/1.1\r\n", b"a:\r\n", 431),
    ("folded header", b"GET / HTTP/1.1\r\nX-A: ", b"x\r\n ", 400),
    ("chunk extension", CHUNKED + b"1;", b"x" * 1000, 431),
    ("chunk extensions", CHUNKED, b"1;%b\r\na\r\n" % (b"x" * 1000), 431),
    ("trailers", CHUNKED + b"1\r\na\r\n0\r\n", b"X-A: %b\r\n" % (b"x" * 1000), 431),
    ("trailer", CHUNKED + b"1\r\na\r\n0\r\nX-A: ", b"x" * 1000, 431),
]


async def flooded(server: uvicorn.Server, start: bytes, rest: bytes) -> tuple[bytes, int]:
    """Send ``rest`` again and again until the server stops reading; returns its response and the bytes sent."""
    reader, writer = await asyncio.open_connection(*address(server))
    writer.write(start)
    sent, answer = 0, asyncio.create_task(reader.read())
    try:
        while not answer.done():
            piece = rest * max(1, 10_000 // len(rest))
            writer.write(piece)
            sent += len(piece)
            await writer.drain()
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    writer.transport.abort()
    return await answer, sent


async def test_head_without_end_is_refused(subtests: pytest.Subtests) -> None:
    for name, start, rest, status in ENDLESS:
        with subtests.test(name):
            application = Hesitant()
            application.may_read.set()
            async with asyncio.timeout(30), served(application) as server:
                answer, sent = await flooded(server, start, rest)
            assert answer.startswith(b"HTTP/1.1 %d " % status), answer
            assert b"application/problem+json" in answer
            assert b"connection: close" in answer
            # What buffers hold, too: of the service's, the system's and this test's.
            assert sent < LINGER_BYTES + 16 * 2**20


async def test_head_within_the_limits_is_accepted() -> None:
    application = Hesitant()
    application.may_read.set()
    fields = b"".join(b"x-%d: %b\r\n" % (number, b"v" * 200) for number in range(MAX_FIELDS - 1))
    url = b"/" + b"u" * (MAX_URL_BYTES - 1)
    async with asyncio.timeout(30), served(application) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        for _ in range(3):  # on the same connection: each request counts for itself
            writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (url, fields))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert len(application.headers) == MAX_FIELDS
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: %b\r\n\r\n" % (b"v" * (DEFAULT_HEAD_BYTES - 100)))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: %b\r\n\r\n" % (b"v" * DEFAULT_HEAD_BYTES))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 431")
        writer.close()


@pytest.mark.parametrize("size", [1, 10, 1000, 100_000])
async def test_chunks_of_any_size_are_accepted_and_trailers_dropped(size: int) -> None:
    application = Hesitant()
    application.may_read.set()
    body = b"%x\r\n%b\r\n" % (size, b"b" * size) * (1_000_000 // size // 10)
    async with asyncio.timeout(60), served(application) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(CHUNKED + body + b"0\r\nX-API-Key: late\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        writer.close()
    assert application.received == b"b" * (size * (1_000_000 // size // 10))
    assert [name for name, _ in application.headers] == [b"host", b"transfer-encoding"]


async def test_empty_lines_do_not_keep_a_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    application = Hesitant()
    application.may_read.set()
    async with asyncio.timeout(30), served(application) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        ended = asyncio.create_task(reader.read())
        while not ended.done():
            writer.write(b"\r\n")
            await asyncio.wait([ended], timeout=0.01)
        with pytest.raises(ConnectionResetError):
            await ended


async def test_next_request_has_its_time_limit_only_after_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    application = Hesitant()
    async with asyncio.timeout(30), served(application) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHo")
        await application.begun.wait()
        await asyncio.sleep(0.5)  # longer than the time limit
        application.may_read.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_refusal_is_never_taken_for_the_response_to_another_request() -> None:
    application = Hesitant()
    async with asyncio.timeout(30), served(application) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + CHUNKED + b"this is no size\r\n")
        received = await asyncio.gather(reader.read(), return_exceptions=True)
        application.may_read.set()
    assert isinstance(received[0], ConnectionResetError), received
