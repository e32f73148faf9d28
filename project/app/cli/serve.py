"""Runs uvicorn: binds the port first, and logs when it serves and when it stops."""

import contextlib
import errno
import logging
import os
import socket
import threading
from typing import Final

import uvicorn
from uvicorn.supervisors import ChangeReload

from app.config import Settings
from app.domain import StartupError
from app.log_events import SERVING, STOPPED, STOPPING
from app.main import create_application
from app.memory import give_back_large_blocks
from app.protocol import ConnectionProtocol

log = logging.getLogger(__name__)

THREADS_END_SECONDS: Final = 2.0


class Server(uvicorn.Server):
    """uvicorn's server, with log lines for its start and stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept requests."""
        await super().startup(sockets)
        if self.started:
            log.info(SERVING, _url(self.config.host, (sockets or self.servers[0].sockets)[0]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish active requests, then stop the application."""
        log.info(STOPPING)
        # Event streams would otherwise last until they are cut off.
        if runtime := self.lifespan.state.get("runtime"):
            runtime.notices.end()
        await super().shutdown(sockets)
        log.info(STOPPED)
        # Everything is closed; only a thread decoding a large image could still delay the exit.
        last_resort = threading.Timer(THREADS_END_SECONDS, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()


def serve(settings: Settings, *, reload: bool) -> None:
    """Serve HTTP until SIGINT or SIGTERM.

    Raises StartupError if the port is unavailable; exits with status 3 if the application cannot start.
    """
    config = uvicorn.Config(
        "app.main:app" if reload else create_application(settings),
        host=settings.host,
        port=settings.port,
        log_config=settings.log_config,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        reload=reload,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        ws="none",
        http=ConnectionProtocol,
    )
    give_back_large_blocks()
    _allow_many_connections()
    listening = _listen(settings.host, settings.port)
    server = Server(config)
    try:
        if reload:
            ChangeReload(config, target=server.run, sockets=[listening]).run()
        else:
            server.run(sockets=[listening])
    except KeyboardInterrupt:
        # uvicorn raises the signal again after stopping; it was asked to stop and it did.
        if not server.started:
            raise


def _allow_many_connections() -> None:
    """Raise the limit of open files: each connection needs one, and the default is often 1024."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartupError(
                f"Port {port} is in use: stop the program that uses it, or set PORT to another port."
            ) from error
        raise StartupError(f"Cannot listen on {host}:{port}: {error.strerror or error}. Set HOST and PORT.") from error


def _url(host: str, listening: socket.socket) -> str:
    shown = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::1", "::"} else host  # noqa: S104 - compared, not bound # nosec B104
    return f"http://{shown}:{listening.getsockname()[1]}"
