"""``classifier worker`` and ``worker-alive``."""

import argparse
import asyncio
import socket
import sys

from app.config import Settings


def run(settings: Settings, _options: argparse.Namespace) -> int:
    """Consume jobs until SIGINT or SIGTERM."""
    from uvicorn.loops.auto import auto_loop_factory

    from app.worker.process import work

    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(work(settings))
    return 0


def check_alive(settings: Settings, _options: argparse.Namespace) -> int:
    """Check whether a worker on this host (or in this container) is alive: exit status 0 or 1."""
    from app.db.connection import connected, database_url
    from app.db.crud.workers import is_alive_on

    async def check() -> bool:
        async with database_url(settings) as url, connected(url, settings):
            return await is_alive_on(socket.gethostname())

    if asyncio.run(check()):
        return 0
    print(f"error: no worker on {socket.gethostname()} is alive: check its log", file=sys.stderr)
    return 1
