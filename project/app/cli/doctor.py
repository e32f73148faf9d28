"""``classifier doctor``: checks everything the service needs, and says how to fix what is wrong."""

import argparse
import asyncio
import errno
import json
import platform
import shutil
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from app import __version__
from app.cli.listening import listen
from app.config import Settings
from app.domain import DatabaseUnavailable, StartupError, StorageUnavailable

MIN_PYTHON: Final = (3, 11)
MIN_POSTGRES: Final = 130_000
"""``SKIP LOCKED`` and ``gen_random_uuid`` are older; this is the oldest version that PostgreSQL supports."""
LOW_DISK_BYTES: Final = 2**30
TIMEOUT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A check and its outcome; a ``warning`` does not prevent the start."""

    subject: str
    state: Literal["ok", "warning", "wrong"]
    message: str


def run(settings: Settings, _options: argparse.Namespace) -> int:
    """Print the findings line by line; returns 1 if something is wrong."""

    async def print_findings() -> bool:
        fine = True
        async for finding in _findings(settings):
            print(f"{finding.state:<8} {finding.subject}: {finding.message}")
            fine = fine and finding.state != "wrong"
        return fine

    return 0 if asyncio.run(print_findings()) else 1


async def _findings(settings: Settings) -> AsyncIterator[Finding]:
    yield _python()
    yield _port(settings)
    for finding in (*_disk(settings), _model(settings)):
        yield finding
    try:
        async for finding in _database(settings):
            yield finding
    except (StartupError, DatabaseUnavailable) as error:
        yield Finding("database", "wrong", error.message)


def _python() -> Finding:
    version = f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.version_info < MIN_PYTHON:
        return Finding("version", "wrong", f"{version}: Python {'.'.join(map(str, MIN_PYTHON))} or newer is required.")
    return Finding("version", "ok", version)


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        listen(settings.host, settings.port).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return Finding("port", "wrong", f"{where}: {error.strerror}. Set HOST and PORT.")
        if _is_this_service(settings):
            return Finding("port", "ok", f"{where} is in use by this service")
        return Finding("port", "wrong", f"{where} is in use by another program: stop it, or set PORT to another port.")
    return Finding("port", "ok", f"{where} is free")


def _is_this_service(settings: Settings) -> bool:
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - compared, not bound # nosec B104
    with suppress(OSError, ValueError):
        address = f"http://[{host}]" if ":" in host else f"http://{host}"
        with urllib.request.urlopen(f"{address}:{settings.port}/ping", timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - http # nosec B310
            return bool(json.load(response)["ping"] == "pong")
    return False


def _disk(settings: Settings) -> Iterator[Finding]:
    folders = {settings.data_dir, settings.models, *([] if settings.storage_url else [settings.uploads])}
    for folder in sorted(folders):
        existing = folder
        while not existing.exists():
            existing = existing.parent
        free = shutil.disk_usage(existing).free
        message = f"{free / 2**30:.1f} GiB free for {folder}"
        if free < LOW_DISK_BYTES:
            yield Finding("disk", "warning", f"{message}: free some space, or set RETENTION_DAYS or RETENTION_BYTES.")
        else:
            yield Finding("disk", "ok", message)


def _model(settings: Settings) -> Finding:
    from app.classifier.registry import find_default

    try:
        model, note = find_default(settings.models, settings.model, settings.model_precision)
    except StartupError as error:
        if settings.queue == "pgqueuer":
            return Finding("model", "warning", f"{error.message} (Only workers need it.)")
        return Finding("model", "wrong", error.message)
    return Finding("model", "ok" if not note else "warning", note or f"{model.name}, version {model.version}")


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    from app.api.middleware.anonymous import allows_anonymous
    from app.db.connection import database_in_use, server_version
    from app.db.migrations import pending_migrations

    settings = settings.model_copy(update={"database_wait_seconds": TIMEOUT_SECONDS})
    async with database_in_use(settings):
        number, version = await server_version()
        if number < MIN_POSTGRES:
            yield Finding("database", "wrong", f"{version}: PostgreSQL {MIN_POSTGRES // 10_000} or newer is required.")
        else:
            yield Finding("database", "ok", version)
        if missing := await pending_migrations():
            yield Finding("tables", "wrong", f"{len(missing)} migrations are missing: run `./classifier migrate`.")
            return
        yield Finding("tables", "ok", "up to date")
        if settings.database_url:
            yield await _connections(settings)
            yield await _permissions()
        if settings.queue == "pgqueuer":
            yield await _queue()
        yield await _storage(settings)
        is_open = allows_anonymous(settings.anonymous, settings.host)
        for finding in await _keys(settings, is_open=is_open):
            yield finding


async def _connections(settings: Settings) -> Finding:
    from app.db.server_checks import count_connections

    counts = await count_connections(settings)
    if counts.problem:
        # One process alone may be refused connections, or only several together.
        return Finding("connections", "wrong" if counts.per_process > counts.allowed else "warning", counts.problem)
    return Finding("connections", "ok", f"{counts.allowed} allowed; each process may open {counts.per_process}")


async def _permissions() -> Finding:
    from app.db.server_checks import missing_permissions

    if missing := await missing_permissions():
        return Finding("permissions", "wrong", f"the account lacks {', '.join(missing)}: grant them.")
    return Finding("permissions", "ok", "the account may read and write all tables")


async def _queue() -> Finding:
    from app.db.crud.workers import count_alive
    from app.worker.job_queue import check_installed

    try:
        await check_installed()
    except StartupError as error:
        return Finding("queue", "wrong", error.message)
    if not await count_alive():
        return Finding("queue", "warning", "no worker is alive: start `./classifier worker`.")
    return Finding("queue", "ok", "installed, and a worker is alive")


async def _storage(settings: Settings) -> Finding:
    from app.storage import make_storage
    from app.storage.ownership import is_owned

    storage = make_storage(settings)
    try:
        await storage.prepare()
        if await storage.owner() is None:
            return Finding("storage", "ok", f"{storage.location} is writable; the first start marks it")
        if not await is_owned(storage):
            return Finding(
                "storage", "wrong", f"{storage.location} belongs to another database: set UPLOADS_DIR or STORAGE_URL."
            )
    except (StartupError, StorageUnavailable) as error:
        return Finding("storage", "wrong", error.message)
    return Finding("storage", "ok", f"{storage.location} is writable")


async def _keys(settings: Settings, *, is_open: bool) -> list[Finding]:
    from app.db.crud.api_keys import any_valid

    exist = bool(settings.api_key) or await any_valid()
    if not is_open and not exist:
        return [Finding("keys", "wrong", "there are none: create one with `./classifier keys create NAME`.")]
    required = exist if settings.anonymous is None else not settings.anonymous
    if required:
        return [Finding("keys", "ok", "required, and at least one is valid")]
    return [
        Finding("keys", "ok", "not required" if settings.allow_anonymous else "not required on this machine"),
        *(Finding("access", "warning", risk) for risk in _risks(settings, keys_exist=exist)),
    ]


def _risks(settings: Settings, *, keys_exist: bool) -> Iterator[str]:
    """What makes a service that needs no keys reachable by more people than its operator may expect."""
    from app.outbound.addresses import is_loopback

    if keys_exist:
        yield "there are API keys, and ALLOW_ANONYMOUS=1 admits everybody without one: unset it to require them."
    if not is_loopback(settings.host):
        yield f"HOST={settings.host} lets everybody on the network in: create a key and unset ALLOW_ANONYMOUS."
    if settings.trusted_proxies != Settings.model_fields["trusted_proxies"].default:
        yield "TRUSTED_PROXIES is set, and everybody whom the proxy admits needs no key: create one."
    if "*" in settings.allowed_host_names:
        yield "ALLOWED_HOSTS=* lets any web page use this service through a visitor's browser: name your hosts."
