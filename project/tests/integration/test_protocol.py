"""Requests, read from a connection no faster than the application asks for them."""

import asyncio
from typing import Any

import uvicorn

from app.protocol import UNASKED_BYTES, ImpatientProtocol

BODY = bytes(range(256)) * 8_000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class Hesitant:
    """An application that reads a body when it is told to, and answers with its length."""

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


async def test_a_body_is_read_when_it_is_asked_for() -> None:
    application = Hesitant()
    config = uvicorn.Config(application, lifespan="off", port=0, http=ImpatientProtocol, log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    for _ in range(2):  # on the same connection
        application.begun.clear()
        application.may_read.clear()
        writer.write(HEAD + BODY)
        await application.begun.wait()
        (connection,) = server.server_state.connections
        assert isinstance(connection, ImpatientProtocol)
        assert 0 < len(connection.cycle.body) <= UNASKED_BYTES
        application.may_read.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert application.received == BODY
    writer.close()
    await server.shutdown()
