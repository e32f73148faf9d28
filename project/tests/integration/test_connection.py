"""Connections: bodies are read on request, and malformed requests get responses."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from app.api.connection import INITIAL_READ_BYTES, ConnectionProtocol
from app.observability import metrics

BODY = bytes(range(256)) * 8_000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


class Hesitant:
    """An application that reads a body on a signal and responds with its length."""

    def __init__(self) -> None:
        self.begun, self.may_read = asyncio.Event(), asyncio.Event()
        self.received = b""

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        self.begun.set()
        await self.may_read.wait()
        self.received, more = b"", True
        while more:
            message = await receive()
            self.received += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def served(application: Hesitant) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(application, lifespan="off", port=0, http=ConnectionProtocol, log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server
    await server.shutdown()


def address(server: uvicorn.Server) -> tuple[str, int]:
    host, port = server.servers[0].sockets[0].getsockname()
    return host, port


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
