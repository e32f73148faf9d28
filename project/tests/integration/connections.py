"""The service's HTTP protocol on a socket, with any application behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from uvicorn._types import ASGI3Application

from app.api.connection import ConnectionProtocol


@asynccontextmanager
async def served(application: ASGI3Application) -> AsyncIterator[uvicorn.Server]:
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
