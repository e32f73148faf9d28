"""Nobody else on the machine reads images, backups or the database, or answers in its place."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from app.db.embedded import running_postgres
from tests.e2e.server import Server
from tests.pictures import encoded, scene

GROUP = 61_842


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def used(server: Server) -> Path:
    """Upload and view an image; returns the data folder."""
    with httpx.Client(base_url=server.url) as client:
        data = encoded(scene(), "PNG")
        prediction = client.post("/predictions/", files={"file": ("a.png", data)}, headers={"Prefer": "wait=60"})
        assert client.get(f"/predictions/{prediction.json()['id']}/image/").status_code == 200
    return Path(server.environment["DATA_DIR"])


def backup(server: Server, file: Path) -> None:
    done = server.command("backup", str(file))
    assert done.returncode == 0, done.stderr


def everything(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_socket() and not path.is_symlink()]


def test_only_the_service_reads_what_it_writes(server: Server, tmp_path: Path) -> None:
    data = Path(server.environment["DATA_DIR"])
    # As an earlier version left it.
    (data / "uploads").mkdir()
    (data / "uploads").chmod(0o755)
    data.chmod(0o755)
    for name in ("backup.tar", "postgres.log.old"):
        (data / name).write_text("of an earlier version")
        (data / name).chmod(0o644)
    used(server.start())
    backup(server, tmp_path / "backup.tar")
    assert mode(tmp_path / "backup.tar") == 0o600
    # Accounts of child processes pass through the folder, but cannot list it.
    assert mode(data) == (0o711 if os.geteuid() == 0 else 0o700)
    open_to_others = {str(path): oct(mode(path)) for path in everything(data) if mode(path) & 0o077}
    assert open_to_others == {}
    assert {path.name for path in data.iterdir()} >= {"uploads", "renditions", "postgres"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to a group that it is no member of")
def test_group_may_read_images_and_renditions(server: Server) -> None:
    used(server.start())
    server.kill()
    earlier = set(everything(Path(server.environment["DATA_DIR"])))
    server.environment["FILE_GROUP"] = str(GROUP)
    data = used(server.start())
    for name in ("uploads", "renditions"):
        for path in (path for path in everything(data / name) if path.is_dir() or path not in earlier):
            assert path.stat().st_gid == GROUP, path
            assert mode(path) & 0o777 == (0o750 if path.is_dir() else 0o640), path
    for name in ("postgres", "postgres.password", "postgres.socket"):
        if (data / name).exists():
            assert mode(data / name) & 0o077 == 0


def test_unknown_group_is_one_clear_line(server: Server) -> None:
    server.environment["FILE_GROUP"] = "no-such-group"
    done = server.command("serve")
    assert done.returncode == 1
    assert done.stderr == "error: FILE_GROUP: the group no-such-group does not exist.\n"


def test_embedded_database_has_no_port(server: Server) -> None:
    server = server.start()
    data = Path(server.environment["DATA_DIR"])
    url = running_postgres(data)
    assert url is not None
    server_pid = int((data / "postgres" / "postmaster.pid").read_text().split()[0])
    connections = psutil.Process(server_pid).net_connections("inet")
    assert [one for one in connections if one.status == psutil.CONN_LISTEN] == []
    folder = Path((data / "postgres" / "postmaster.pid").read_text().splitlines()[4])
    assert mode(folder) == 0o700
    if os.geteuid() == 0 and shutil.which("setpriv"):
        stranger = ["setpriv", "--reuid=61843", "--regid=61843", "--clear-groups", "--"]
        assert subprocess.run([*stranger, "ls", str(folder)], capture_output=True, cwd="/").returncode != 0
