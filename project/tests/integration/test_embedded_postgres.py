"""The embedded PostgreSQL, as a real process."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest

from app import PROJECT_DIR
from app.db.embedded import embedded_postgres
from app.db.embedded_binaries import binaries, run_as, server_account
from app.domain import StartupError

pytestmark = pytest.mark.process

# Runs the server and tells its URL, then waits to be killed.
OWNER = """
import asyncio, pathlib, sys
from app.db.embedded import embedded_postgres
async def main():
    async with embedded_postgres(pathlib.Path(sys.argv[1]), 30) as url:
        print(url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def owner(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def server_pid(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().split()[0])


async def ended(pid: int) -> bool:
    """Whether a process ends within ten seconds. A zombie counts as ended: nothing reaps it here."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while True:
                try:
                    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
                except FileNotFoundError:
                    return True
                if state == "Z":
                    return True
                await asyncio.sleep(0.02)
    return False


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_data_survives_a_restart(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path, 30) as url:
        await query(url, "CREATE TABLE kept (x int)")
        pid = server_pid(tmp_path)
    assert await ended(pid)
    async with embedded_postgres(tmp_path, 30) as url:
        assert await query(url, "SELECT count(*) FROM kept") == 0


async def test_server_ends_with_its_killed_owner_and_the_next_start_recovers(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        await query(url, "CREATE TABLE kept AS SELECT 1 AS x")
        pid = server_pid(tmp_path)
        process.kill()
    async with embedded_postgres(tmp_path, 30) as url:
        assert await query(url, "SELECT x FROM kept") == 1
    assert await ended(pid)


async def test_killed_server_is_recovered_although_its_pid_was_reused(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path, 30) as url:
        await query(url, "CREATE TABLE kept AS SELECT 1 AS x")
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        os.kill(int(lines[0]), signal.SIGKILL)
    # What a reboot may leave: the pid of another program, this one.
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    async with embedded_postgres(tmp_path, 30) as url:
        assert await query(url, "SELECT x FROM kept") == 1


async def test_server_that_ends_is_restarted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with embedded_postgres(tmp_path, 30) as url:
        await query(url, "CREATE TABLE kept AS SELECT 1 AS x")
        os.kill(server_pid(tmp_path), signal.SIGKILL)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await query(url, "SELECT x FROM kept") == 1
                    break
                except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
                    await asyncio.sleep(0.05)
        pid = server_pid(tmp_path)
    assert "exited (status -9); restarting it" in caplog.text
    assert await ended(pid)


async def test_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StartupError, match=r"DATA_DIR .* cannot be used: .*\. Set DATA_DIR"):
        async with embedded_postgres(tmp_path / "file", 30):
            pass


async def test_second_user_of_a_folder_gets_a_clear_error(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path, 30) as url:
        with pytest.raises(StartupError, match=rf"in use by another process .*PID {os.getpid()}\): stop it"):
            async with embedded_postgres(tmp_path, 30):
                pass
        assert await query(url, "SELECT 1") == 1


async def test_interrupted_creation_begins_again(tmp_path: Path) -> None:
    (tmp_path / "postgres.making").mkdir()
    (tmp_path / "postgres.making" / "half").write_text("a file")
    async with embedded_postgres(tmp_path, 30) as url:
        assert await query(url, "SELECT 1") == 1


async def test_password_is_required_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path, 30) as url:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await query(url.replace(url.split(":")[2].split("@")[0], "wrong"), "SELECT 1")
    assert (tmp_path / "postgres.password").stat().st_mode & 0o077 == 0
    assert (tmp_path / "postgres").stat().st_mode & 0o077 == 0


async def test_invalid_configuration_is_reported_with_postgresqls_message(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path, 30):
        pass
    with (tmp_path / "postgres" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = on\n")
    with pytest.raises(StartupError, match=r"postgresql\.conf\" contains errors \(see .*postgres\.log\)"):
        async with embedded_postgres(tmp_path, 30):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be kept out of nothing")
async def test_server_runs_as_root_below_a_closed_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    async with embedded_postgres(tmp_path / "closed", 30) as url:
        assert await query(url, "SELECT 1") == 1
        assert Path(f"/proc/{server_pid(tmp_path / 'closed')}").stat().st_uid != 0
    assert tmp_path.stat().st_mode & 0o777 == 0o700


async def test_locks_of_a_killed_server_do_not_prevent_a_start(tmp_path: Path) -> None:
    """Their PID may belong to another program by now, above all in containers."""
    with owner(tmp_path) as process:
        assert process.stdout
        process.stdout.readline()
        folder = Path((tmp_path / "postgres" / "postmaster.pid").read_text().splitlines()[4])
        pid = server_pid(tmp_path)
        os.kill(pid, signal.SIGKILL)
        process.kill()
    assert await ended(pid)
    account = (tmp_path / "postgres").stat()
    # A living process of the server's account.
    other = subprocess.Popen(["sleep", "60"], user=account.st_uid, cwd="/")
    try:
        folder.mkdir(exist_ok=True)
        lock = folder / ".s.PGSQL.5432.lock"
        lock.write_text(f"{other.pid}\n{tmp_path / 'postgres'}\n0\n5432\n{folder}\n")
        async with embedded_postgres(tmp_path, 30) as url:
            assert await query(url, "SELECT 1") == 1
    finally:
        other.kill()
        other.wait()


async def test_socket_is_in_a_temporary_folder_if_the_path_is_too_long(tmp_path: Path) -> None:
    folder = tmp_path / ("a long name " * 8)
    for _ in range(2):
        async with embedded_postgres(folder, 30) as url:
            assert await query(url, "SELECT 1") == 1
            sockets = Path((folder / "postgres" / "postmaster.pid").read_text().splitlines()[4])
            os.kill(server_pid(folder), signal.SIGKILL)
            # It is restarted in the same folder.
            async with asyncio.timeout(30):
                while True:
                    try:
                        assert await query(url, "SELECT 1") == 1
                        break
                    except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
                        await asyncio.sleep(0.05)
        assert not sockets.exists()


@pytest.mark.parametrize("name", ["one, two", 'a "name"', "it's", "50 %", "a\\b", "Bilder für Omä"])
async def test_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path / name / "data", 30) as url:
        assert await query(url, "SELECT 1") == 1


async def test_socket_is_in_tmp_if_the_path_of_tmpdir_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("a long name " * 8)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    async with embedded_postgres(long / "data", 30) as url:
        assert await query(url, "SELECT 1") == 1
        sockets = Path((long / "data" / "postgres" / "postmaster.pid").read_text().splitlines()[4])
        assert sockets.parent == Path("/tmp")  # noqa: S108 (where a long TMPDIR leads)
    assert not sockets.exists()
    assert [path.name for path in long.iterdir()] == ["data"]


async def test_files_of_another_major_version_are_named(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path / "data", 30):
        pass
    (tmp_path / "data" / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(StartupError, match=r"is of PostgreSQL 15, .* service has PostgreSQL \d+: upgrade it"):
        async with embedded_postgres(tmp_path / "data", 30):
            pass


async def test_documented_upgrade_keeps_the_data(tmp_path: Path) -> None:
    """With the same major version on both sides, since the tests have only one."""
    data = tmp_path / "data"
    async with embedded_postgres(data, 30) as url:
        await query(url, "CREATE TABLE kept AS SELECT 42 AS number")
    page = (PROJECT_DIR / "docs" / "operations.md").read_text()
    (steps,) = re.findall(r"^```sh\n(OLD=.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = "\n".join(line for line in steps.splitlines() if not line.startswith(("OLD=", "NEW=")))
    as_root = os.geteuid() == 0
    account = server_account() if as_root else None
    if account:
        for path in (tmp_path, data, data / "postgres.password"):
            os.chown(path, account.pw_uid, account.pw_gid)
    done = subprocess.run(
        [*run_as(account, data), "bash", "-euc", script.replace("--no-data-checksums", "")],
        cwd=tmp_path,
        env={**os.environ, "OLD": str(binaries()), "NEW": str(binaries())},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    async with embedded_postgres(data, 30) as url:
        assert await query(url, "SELECT number FROM kept") == 42


@pytest.mark.parametrize("version", [None, "", "abc"])
async def test_damaged_folder_is_named(tmp_path: Path, version: str | None) -> None:
    (folder := tmp_path / "data" / "postgres").mkdir(parents=True)
    if version is not None:
        (folder / "PG_VERSION").write_text(version)
    with pytest.raises(StartupError, match="is not a database, or is damaged"):
        async with embedded_postgres(tmp_path / "data", 30):
            pass
    assert not folder.with_name("postgres.making").exists()
