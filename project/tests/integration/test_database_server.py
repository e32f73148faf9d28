"""Databases as people run them: poolers, restricted accounts, TLS, few connections, and migrations that wait."""

import asyncio
import logging
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import trustme
from pydantic import SecretStr, ValidationError

from app.config import Settings
from app.db.advisory_locks import MIGRATE
from app.db.connection import application_name, connected, connection_options, dedicated_connection, execute
from app.db.crud import installation
from app.db.embedded_binaries import run_as, server_account
from app.db.migrations import migrate, pending_migrations
from app.db.server_checks import Connections, check_server, count_connections, missing_permissions
from app.domain import DatabaseUnavailable, StartupError
from app.worker.job_queue import JobConsumer, install
from tests.integration.conftest import execute as execute_on
from tests.integration.conftest import serving
from tests.integration.test_upgrades import make
from tests.servers import free_port
from tests.uploading import upload

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
SECONDS = 20


def on(settings: Settings, url: str, **changes: Any) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url), "database_wait_seconds": 1, **changes})


@asynccontextmanager
async def account(database_url: str, options: str = "", *grants: str) -> AsyncIterator[str]:
    """An account of the test's own; yields its URL."""
    name = f"role_{time.monotonic_ns()}"
    await execute_on(database_url, f"CREATE ROLE {name} LOGIN PASSWORD 'x' {options}")
    await execute_on(database_url, *(f"{grant} TO {name}" for grant in grants))
    parts = urlsplit(database_url)
    yield parts._replace(netloc=f"{name}:x@{parts.netloc.rpartition('@')[2]}").geturl()
    await execute_on(
        database_url,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'",  # noqa: S608 - the test's own
        f"DROP OWNED BY {name}",
        f"DROP ROLE {name}",
    )


async def test_account_without_permissions_is_named(empty_database_url: str, settings: Settings) -> None:
    async with account(empty_database_url) as url:
        with pytest.raises(DatabaseUnavailable, match="lacks a permission: grant it, or run"):
            await migrate(url, on(settings, url))


async def test_account_that_may_not_read_gets_no_500(database_url: str, settings: Settings) -> None:
    async with account(database_url, "", "GRANT USAGE ON SCHEMA public") as url, connected(url, on(settings, url)):
        with pytest.raises(DatabaseUnavailable, match="lacks a permission"):
            await installation.database_id()


async def test_missing_permissions_are_listed(database_url: str, settings: Settings) -> None:
    grants = "GRANT SELECT ON ALL TABLES IN SCHEMA public", "GRANT INSERT ON predictions"
    async with account(database_url, "", *grants) as url, connected(url, on(settings, url)):
        missing = await missing_permissions()
    assert "INSERT on predictions" not in missing
    assert {"UPDATE on predictions", "INSERT on api_keys", "USAGE on predictions_id_seq"} <= set(missing)
    async with connected(database_url, settings):
        assert await missing_permissions() == []


async def test_database_of_another_encoding_is_refused(postgres_url: str, settings: Settings) -> None:
    name = f"ascii_{time.monotonic_ns()}"
    await execute_on(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    with pytest.raises(StartupError, match="has the encoding SQL_ASCII: create one with the encoding UTF8"):
        await migrate(url, on(settings, url))
    await execute_on(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_account_without_free_connections_is_named(database_url: str, settings: Settings) -> None:
    async with account(database_url, "CONNECTION LIMIT 1") as url, dedicated_connection(url):
        with pytest.raises(StartupError, match=r"no free connections: lower DATABASE_POOL_SIZE.*too many connections"):
            async with connected(url, on(settings, url)):
                pass


async def test_connections_of_a_restricted_account_are_counted(database_url: str, settings: Settings) -> None:
    async with account(database_url, "CONNECTION LIMIT 8", "GRANT USAGE ON SCHEMA public") as url:
        small, large = on(settings, url, database_pool_size=5), on(settings, url, database_pool_size=8)
        async with connected(url, small):
            found = await count_connections(small)
            assert found.allowed == 8
            assert found.per_process == 6
            assert "the database allows 8: lower DATABASE_POOL_SIZE" in (await count_connections(large)).problem


async def test_consumer_without_connections_takes_no_jobs(
    database_url: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """And so its worker does not report itself as alive."""
    await install(database_url)
    grants = "GRANT ALL ON ALL TABLES IN SCHEMA public", "GRANT USAGE ON SCHEMA public"
    async with account(database_url, "CONNECTION LIMIT 4", *grants) as url, connected(url, on(settings, url)):
        stop = asyncio.Event()
        async with AsyncExitStack() as others:
            for _ in range(3):
                await others.enter_async_context(dedicated_connection(url))
            consumer = JobConsumer(url, "classify", never, max_jobs=1, heartbeat=1, poll=1)
            running = asyncio.create_task(consumer.run(stop))
            await logged(caplog, "jobs_interrupted")
            assert not consumer.is_taking.is_set()
        async with asyncio.timeout(SECONDS):
            await consumer.is_taking.wait()
        stop.set()
        await running
    assert "too many connections" in caplog.text


async def never(job_id: int) -> None:
    raise AssertionError(job_id)


def test_enough_connections_are_no_problem() -> None:
    assert Connections(allowed=22, per_process=11, processes=2, others=0).problem == ""
    assert "2 processes may open 11 connections each, other programs use 1" in (
        Connections(allowed=22, per_process=11, processes=2, others=1).problem
    )
    assert Connections(allowed=5, per_process=11, processes=1, others=0).problem.startswith("This process may open 11")


async def test_every_connection_names_its_process(database_url: str, settings: Settings) -> None:
    async with connected(database_url, settings), dedicated_connection(database_url) as other:
        own = await execute("SELECT current_setting('application_name') AS name")
        assert own[0]["name"] == await other.fetchval("SHOW application_name") == application_name()


@asynccontextmanager
async def pgbouncer(database_url: str, mode: str, folder: Path) -> AsyncIterator[str]:
    """A real PgBouncer in front of a database; yields its URL."""
    if not PGBOUNCER:
        pytest.skip("PgBouncer is not installed (apt-get install pgbouncer)")
    options, port = connection_options(database_url), free_port()
    (folder / "pgbouncer.ini").write_text(
        f"""
[databases]
{options["database"]} = host={options["host"]} user={options["user"]} password={options["password"]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
"""
    )
    prefix = run_as(server_account(), folder) if os.geteuid() == 0 else []
    with (folder / "pgbouncer.log").open("w") as log:
        process = subprocess.Popen([*prefix, PGBOUNCER, str(folder / "pgbouncer.ini")], stdout=log, stderr=log)
    try:
        yield f"postgres://postgres@127.0.0.1:{port}/{options['database']}?sslmode=disable"
    finally:
        process.terminate()
        process.wait(SECONDS)


async def test_pooler_in_transaction_mode_is_refused(database_url: str, settings: Settings, tmp_path: Path) -> None:
    async with pgbouncer(database_url, "transaction", tmp_path) as url:
        with pytest.raises(StartupError, match="a pooler in transaction mode, such as PgBouncer"):
            async with serving(on(settings, url, database_wait_seconds=SECONDS)):
                pass
        for _ in range(3):
            with pytest.raises(StartupError, match="a pooler in transaction mode, such as PgBouncer"):
                await migrate(url, on(settings, url))


async def test_pooler_in_session_mode_works(database_url: str, settings: Settings, tmp_path: Path) -> None:
    async with (
        pgbouncer(database_url, "session", tmp_path) as url,
        serving(on(settings, url, database_wait_seconds=SECONDS)) as client,
    ):
        assert (await upload(client, wait=True)).json()["status"] == "succeeded"


async def test_direct_connection_is_no_pooler(database_url: str, settings: Settings) -> None:
    async with connected(database_url, settings):
        await check_server(database_url, settings)


async def test_migration_that_waits_says_for_whom(
    empty_database_url: str,
    settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("app.db.migrations.BLOCKED_SECONDS", 0.1)
    await make(empty_database_url, 3, tmp_path / "migrations")
    settings = on(settings, empty_database_url)
    async with dedicated_connection(empty_database_url) as blocker:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE predictions IN ACCESS SHARE MODE")
            migrating = asyncio.create_task(migrate(empty_database_url, settings))
            await logged(caplog, "migration_blocked")
        assert len(await migrating) > 0
    (line, *_) = [record.getMessage() for record in caplog.records if event_of(record) == "migration_blocked"]
    assert line.startswith("The migration waits for a lock of PID ")
    assert re.search(r"idle in transaction for \d+ s", line)
    async with connected(empty_database_url, settings):
        assert await pending_migrations() == []


async def test_migration_that_waits_for_another_says_so(
    database_url: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with dedicated_connection(database_url) as other:
        await other.execute("SELECT pg_advisory_lock($1)", MIGRATE)
        migrating = asyncio.create_task(migrate(database_url, on(settings, database_url)))
        await logged(caplog, "migration_queued")
    assert await migrating == []


def event_of(record: logging.LogRecord) -> str:
    return str(getattr(record.msg, "name", ""))


async def logged(caplog: pytest.LogCaptureFixture, event: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not any(event_of(record) == event for record in caplog.records):
            await asyncio.sleep(0.02)


@asynccontextmanager
async def tls_in_front_of(url: str, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that speaks PostgreSQL with TLS, which the embedded server is built without."""
    options = connection_options(url)
    path = f"{options['host']}/.s.PGSQL.{options['port']}"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            # SSLRequest, and the answer that TLS is possible (PostgreSQL's documentation, 54.2.10).
            await reader.readexactly(8)
            writer.write(b"S")
            await writer.start_tls(context)
            server_reader, server_writer = await asyncio.open_unix_connection(path)
            await asyncio.gather(passed_on(reader, server_writer), passed_on(server_reader, writer))

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "localhost", 0, family=socket.AF_INET)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_certificates_are_verified_as_the_url_says(database_url: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    (root := tmp_path / "root.crt").write_bytes(authority.cert_pem.bytes())
    (foreign := tmp_path / "foreign.crt").write_bytes(trustme.CA().cert_pem.bytes())
    parts = urlsplit(database_url)

    async with tls_in_front_of(database_url, context) as port:

        async def connect(host: str, options: str) -> None:
            url = f"postgres://{parts.username}:{parts.password}@{host}:{port}{parts.path}?{options}"
            async with connected(url, on(Settings(), url, database_wait_seconds=SECONDS)):
                await execute("SELECT 1")

        await connect("localhost", "sslmode=require")
        await connect("localhost", f"sslmode=verify-full&sslrootcert={quote(str(root))}")
        await connect("127.0.0.1", f"sslmode=verify-ca&sslrootcert={quote(str(root))}")
        for host, options, says in (
            ("127.0.0.1", f"sslmode=verify-full&sslrootcert={quote(str(root))}", "is not trusted"),
            ("localhost", f"sslmode=verify-full&sslrootcert={quote(str(foreign))}", "add sslrootcert=FILE"),
            ("localhost", f"sslmode=require&sslrootcert={quote(str(foreign))}", "add sslrootcert=FILE"),
            ("localhost", "sslmode=verify-full&sslrootcert=system", "add sslrootcert=FILE"),
            ("localhost", "sslmode=verify-full", "sslrootcert=system for the certificate authorities"),
        ):
            with pytest.raises(StartupError, match=says):
                await connect(host, options)


def test_missing_root_certificate_is_named() -> None:
    with pytest.raises(ValidationError, match=r"sslrootcert=/nowhere/root\.crt does not exist"):
        Settings(database_url=SecretStr("postgres://u@h/d?sslmode=verify-full&sslrootcert=/nowhere/root.crt"))
