"""``classifier serve``: runs uvicorn, binds the port first, and logs when it serves and when it stops."""

import argparse
import asyncio
import contextlib
import ctypes
import errno
import gc
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator
from typing import Final

import uvicorn
from uvicorn.supervisors import ChangeReload

from app.classifier.engine.process import Engine
from app.classifier.engine.startup import engine_config
from app.classifier.registry import find_default
from app.cli.listening import listen
from app.concurrency import in_background
from app.config import Settings
from app.domain import ServiceError, StartupError
from app.observability.log_events import SERVING, STOPPED, STOPPING
from app.observability.log_format import log_config

log = logging.getLogger(__name__)

THREADS_END_SECONDS: Final = 2.0
COLLECT_THRESHOLDS: Final = (20_000, 50, 100)
"""New objects, and younger collections, before Python collects garbage of each age; its defaults are 700, 10, 10."""
M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 256 * 1024
APPLICATION: Final = "app.main:app"
PROTOCOL: Final = "app.api.connection:ConnectionProtocol"


class Server(uvicorn.Server):
    """uvicorn's server, with log lines for its start and stop."""

    def __init__(self, config: uvicorn.Config, settings: Settings | None = None) -> None:
        """``settings``: of the application to build; None if ``config`` has one."""
        super().__init__(config)
        self._settings = settings

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal."""
        try:
            if self._settings is None:
                await super().serve(sockets)
                return
            # Both take half a second, in different processes.
            async with _engine_started(self._settings) as engine:
                await asyncio.to_thread(_build, self.config, self._settings, engine)
                await super().serve(sockets)
        finally:
            # Also after a signal, which uvicorn raises again.
            self._end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept requests."""
        await super().startup(sockets)
        if self.started:
            # Everything created so far stays: collections that traverse it again and again delay requests.
            gc.freeze()
            gc.enable()
            # Requests leave hardly any garbage: with fewer collections, uploads are 1.3 % faster.
            gc.set_threshold(*COLLECT_THRESHOLDS)
            log.info(SERVING, _url(self.config.host, (sockets or self.servers[0].sockets)[0]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish active requests, then stop the application."""
        log.info(STOPPING)
        # Event streams would otherwise last until they are cut off.
        if state := self.lifespan.state.get("app_state"):
            state.notifications.stop()
        await super().shutdown(sockets)

    def _end(self) -> None:
        if not self.started:
            return
        log.info(STOPPED)
        # Everything is closed; only a thread decoding a large image could still delay the exit.
        last_resort = threading.Timer(THREADS_END_SECONDS, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Serve HTTP until SIGINT or SIGTERM.

    Raises StartupError if the port is unavailable; exits with status 3 if the application cannot start.
    """
    # Collections during the imports find nothing, and take a tenth of a second.
    gc.disable()
    config = uvicorn.Config(
        APPLICATION,
        host=settings.host,
        port=settings.port,
        log_config=log_config(settings),
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        reload=options.reload,
        server_header=False,
        # The application's own middleware evaluates them.
        proxy_headers=False,
        ws="none",
        http=PROTOCOL,
        # Despite its name, the one setting for this that uvicorn passes to its protocols.
        h11_max_incomplete_event_size=settings.max_head_bytes,
    )
    _return_large_blocks()
    _allow_many_connections()
    listening = _listen(settings.host, settings.port)
    server = Server(config, None if options.reload else settings)
    try:
        if options.reload:
            ChangeReload(config, target=server.run, sockets=[listening]).run()
        else:
            server.run(sockets=[listening])
    except KeyboardInterrupt:
        # uvicorn raises the signal again after stopping; it was asked to stop and it did.
        if not server.started:
            raise
    return 0


@contextlib.asynccontextmanager
async def _engine_started(settings: Settings) -> AsyncIterator[Engine | None]:
    """Run the engine while inside; None if workers have theirs, or without a model, which the application reports."""
    if settings.queue != "local":
        yield None
        return
    try:
        default, _ = await asyncio.to_thread(find_default, settings.models, settings.model, settings.model_precision)
    except StartupError:
        yield None
        return
    engine = Engine(engine_config(settings, default))
    async with engine.running(), in_background(_load(engine, default.name)):
        yield engine


async def _load(engine: Engine, model: str) -> None:
    # The application asks for the model, too, and reports errors.
    with contextlib.suppress(ServiceError):
        await engine.load([model])


def _build(config: uvicorn.Config, settings: Settings, engine: Engine | None) -> None:
    """Import and build the application."""
    from app.main import create_application

    config.app = create_application(settings, engine)


def _return_large_blocks() -> None:
    """Return blocks of ``LARGE_BYTES`` or more to the system as soon as they are freed (glibc, mallopt(3)).

    By default glibc raises that threshold to the largest block it has seen, and images leave holes in the heap: with
    2,000 clients sending 1 MB each these took 60 MB of 250 (``tests/resilience/test_overload.py``).
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, or do this anyway
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def _allow_many_connections() -> None:
    """Raise the limit of open files: each connection needs one, and the default is often 1024."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartupError(
                f"Port {port} is in use: stop the program that uses it, or set PORT to another port."
            ) from error
        raise StartupError(f"Cannot listen on {host}:{port}: {error.strerror or error}. Set HOST and PORT.") from error


def _url(host: str, listening: socket.socket) -> str:
    shown = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::1", "::"} else host  # noqa: S104 - compared, not bound # nosec B104
    return f"http://{shown}:{listening.getsockname()[1]}"
