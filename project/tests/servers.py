"""PostgreSQL servers of a test's own: on TCP, with TLS, and with a standby that can be promoted."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.db.embedded_binaries import binaries, environment, run_as, server_account
from tests.processes import wait_while_running

START_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """A server on 127.0.0.1 that trusts everybody."""

    def __init__(self, folder: Path, *, standby_of: "PostgresServer | None" = None) -> None:
        self._account = server_account() if os.geteuid() == 0 else None
        self.port = free_port()
        self.folder = folder / f"postgres-{self.port}"
        self._log = folder / f"postgres-{self.port}.log"
        self.folder.mkdir(mode=0o700)
        if self._account:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._prefix = run_as(self._account, self.folder)
        if standby_of:
            self._run(
                "pg_basebackup",
                "--pgdata",
                self.folder,
                "--checkpoint=fast",
                "--write-recovery-conf",
                "--dbname",
                standby_of.url,
            )
        else:
            data = f"--pgdata={self.folder}"
            self._run("initdb", data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        listening = ["-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._prefix, str(binaries() / "postgres"), "-D", str(self.folder), *listening, "-c", "fsync=off"],
                stdout=output,
                stderr=output,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )
        ready = [str(binaries() / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        wait_while_running(
            self.process,
            lambda: subprocess.run(ready, env=environment()).returncode == 0,
            self._log.read_text,
            START_SECONDS,
        )

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "--wait", "--pgdata", self.folder)

    def kill(self) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.kill()
            self.process.wait(START_SECONDS)

    def _run(self, command: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [*self._prefix, str(binaries() / command), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd="/",
            env=environment(),
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def running(server: PostgresServer) -> Iterator[PostgresServer]:
    """Start a server, and kill it at the end."""
    server.start()
    try:
        yield server
    finally:
        server.kill()
