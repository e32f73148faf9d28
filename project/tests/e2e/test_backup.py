"""Backup, restore and retention by their commands."""

import re
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from tests.e2e.server import Server
from tests.pictures import jpeg


def filled(server: Server, key: str = "") -> dict[str, object]:
    """All data of a running service that clients can read."""
    with httpx.Client(base_url=server.url, timeout=60, headers={"X-API-Key": key} if key else {}) as client:
        rows = client.get("/predictions/?limit=500").json()
        return {
            "rows": rows,
            "images": {row["id"]: client.get(f"/predictions/{row['id']}/image").content for row in rows},
            "histories": {row["id"]: client.get(f"/predictions/{row['id']}/history").json() for row in rows},
        }


def test_backup_is_restored_into_an_empty_installation(server: Server, settings: Settings, tmp_path: Path) -> None:
    server.start()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for number in range(5):
            client.post("/predictions/", files={"file": jpeg(300 + number)}, headers={"Prefer": "wait=30"})
        client.put("/predictions/2/", json={"top_prediction": 'a "strange", label\n', "confidence": 0.5})
        client.post("/predictions/3/reclassify", headers={"Prefer": "wait=30"})
        client.delete("/predictions/4/")
    before = filled(server)
    key = server.command("keys", "create", "anna").stdout.splitlines()[-1]
    file = tmp_path / "all.tar"
    made = server.command("backup", str(file))
    assert made.returncode == 0, made.stderr
    assert made.stderr.count("Traceback") == 0, made.stderr
    assert made.stdout.endswith(f"rows and 4 images to {file}\n")
    again = server.command("backup", str(file))
    assert again.returncode == 1
    assert "exists already" in again.stderr
    server.stop()

    elsewhere = Server(settings.model_copy(update={"data_dir": tmp_path / "elsewhere"}), tmp_path / "elsewhere.log")
    restored = elsewhere.command("restore", str(file), "--with-keys")
    assert restored.returncode == 0, restored.stderr
    assert restored.stdout.endswith("rows and 4 images\nThese API keys are valid: anna (key 1)\n")
    refused = elsewhere.command("restore", str(file))
    assert refused.returncode == 1
    assert "The database is not empty" in refused.stderr
    elsewhere.start()
    try:
        assert filled(elsewhere, key) == before
        with httpx.Client(base_url=elsewhere.url, headers={"X-API-Key": key}) as client:
            new = client.post("/predictions/", files={"file": jpeg(400)}, headers={"Prefer": "wait=30"}).json()
            assert new["id"] == 6
            assert new["status"] == "succeeded"
            assert client.get("/predictions/4/history").json()[0]["action"] == "prediction.deleted"
    finally:
        elsewhere.stop()


def test_keys_of_a_backup_are_revoked(server: Server, settings: Settings, tmp_path: Path) -> None:
    server.start()
    httpx.post(f"{server.url}/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait=30"}, timeout=60)
    key = server.command("keys", "create", "anna").stdout.splitlines()[-1]
    assert server.command("backup", str(tmp_path / "all.tar")).returncode == 0
    server.stop()
    elsewhere = Server(settings.model_copy(update={"data_dir": tmp_path / "elsewhere"}), tmp_path / "elsewhere.log")
    restored = elsewhere.command("restore", str(tmp_path / "all.tar"))
    assert restored.stdout.splitlines()[-1] == "These API keys were revoked (--with-keys keeps them): anna (key 1)"
    elsewhere.start()
    try:
        assert httpx.get(f"{elsewhere.url}/predictions/", headers={"X-API-Key": key}).status_code == 401
        assert len(httpx.get(f"{elsewhere.url}/predictions/").json()) == 1
    finally:
        elsewhere.stop()


def changed(source: Path, to: Path, **contents: bytes) -> Path:
    """A copy of a backup with other contents in some of its files."""
    with tarfile.open(source) as old, tarfile.open(to, "w") as new:
        for entry in old:
            data = old.extractfile(entry)
            assert data is not None
            kept = data.read()
            body = contents.get(entry.name.replace(".", "_").replace("/", "_"), kept)
            entry.size = len(body)
            new.addfile(entry, BytesIO(body))
    return to


@pytest.fixture(scope="module")
def backup(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of one prediction."""
    file = tmp_path_factory.mktemp("backup") / "all.tar"
    url = f"{shared_server.url}/predictions/"
    httpx.post(url, files={"file": jpeg()}, headers={"Prefer": "wait=30"}, timeout=60)
    assert shared_server.command("backup", str(file)).returncode == 0
    return file


def with_entry(source: Path, to: Path, name: str, kind: bytes, size: int = 0) -> Path:
    """A copy of a backup in which an entry is of another kind, such as a link, or declares another size."""
    with tarfile.open(source) as old, tarfile.open(to, "w", format=tarfile.GNU_FORMAT) as new:
        for entry in old:
            data = old.extractfile(entry)
            if entry.name == name:
                entry.type, entry.linkname, entry.size = kind, "tables/api_keys.csv", size
                data = BytesIO(bytes(size))
            new.addfile(entry, data)
    return to


def archive_table(backup: Path) -> bytes:
    with tarfile.open(backup) as archive:
        table = archive.extractfile("tables/predictions.csv")
        assert table is not None
        return table.read()


def invalid_backups(backup: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Files that are no backups, or not of this service."""
    yield "nothing", folder / "nothing.tar"
    (folder / "text.tar").write_text("no backup")
    yield "text", folder / "text.tar"
    (folder / "cut.tar").write_bytes(backup.read_bytes()[:9000])
    yield "cut", folder / "cut.tar"
    newer = b'{"version": "99", "migrations": ["99_future.py"]}'
    yield "newer", changed(backup, folder / "newer.tar", manifest_json=newer)
    yield "rows", changed(backup, folder / "rows.tar", tables_changes_csv=b"id,nothing\n1,2\n")
    with tarfile.open(backup) as archive:
        table = archive.extractfile("tables/predictions.csv")
        assert table is not None
        rows = re.sub(rb",\d{4}/\d\d/\d\d/\w+\.jpg,", b",.owner,", table.read())
    assert b",.owner," in rows
    yield "path", changed(backup, folder / "path.tar", tables_predictions_csv=rows)
    for name, old, new in (
        ("status", b",succeeded,", b",exploded,"),
        ("type", b",image/jpeg,", b",text/html,"),
        ("results", b'"label"', b'"lable"'),
        ("categories", b'"name"', b'"nmae"'),
        ("decision", b",unsure", b",perhaps"),
    ):
        original = archive_table(backup)
        assert old in original
        yield name, changed(backup, folder / f"{name}.tar", tables_predictions_csv=original.replace(old, new))
    yield "manifest", changed(backup, folder / "manifest.tar", manifest_json=b"[1,2]")
    yield "nested", changed(backup, folder / "nested.tar", manifest_json=b"[" * 100_000)
    for name, kind in {"link": tarfile.LNKTYPE, "symlink": tarfile.SYMTYPE, "device": tarfile.CHRTYPE}.items():
        yield name, with_entry(backup, folder / f"{name}.tar", "tables/changes.csv", kind)
    yield "large", with_entry(backup, folder / "large.tar", "manifest.json", tarfile.REGTYPE, 2_000_000)


def test_invalid_backup_changes_nothing(
    server: Server, backup: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    server.environment["DATA_DIR"] = str(tmp_path / "elsewhere")
    for name, file in invalid_backups(backup, tmp_path):
        with subtests.test(name):
            done = server.command("restore", str(file))
            assert done.returncode == 1
            assert done.stderr.splitlines()[-1].startswith("error: ")
            assert "Traceback" not in done.stderr
    assert [path for path in (tmp_path / "elsewhere" / "uploads").rglob("*") if path.suffix == ".jpg"] == []
    server.start()
    assert httpx.get(f"{server.url}/predictions/").json() == []


def test_backup_without_some_images_says_which_and_fails(server: Server, settings: Settings, tmp_path: Path) -> None:
    server.start()
    for number in (300, 301):
        files = {"file": jpeg(number)}
        httpx.post(f"{server.url}/predictions/", files=files, headers={"Prefer": "wait=30"}, timeout=60)
    first, second = sorted(settings.uploads.rglob("*.jpg"))
    first.unlink()
    done = server.command("backup", str(tmp_path / "all.tar"))
    assert done.returncode == 1
    assert f"Image {first.relative_to(settings.uploads)} is missing" in done.stderr
    assert done.stderr.endswith(
        "1 images are missing in the storage, and so in the backup: the lines above name them.\n"
    )
    with tarfile.open(tmp_path / "all.tar") as archive:
        assert [name for name in archive.getnames() if name.startswith("images/")] == [
            f"images/{second.relative_to(settings.uploads)}"
        ]


def test_restore_continues_where_one_was_killed(server: Server, backup: Path, tmp_path: Path) -> None:
    """A file that was being written then is replaced."""
    server.environment["DATA_DIR"] = str(tmp_path / "elsewhere")
    with tarfile.open(backup) as archive:
        (image,) = (name for name in archive.getnames() if name.startswith("images/"))
    unfinished = tmp_path / "elsewhere" / "uploads" / f"{image.removeprefix('images/')}.part"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"cut")
    done = server.command("restore", str(backup))
    assert done.returncode == 0, done.stderr
    assert "1 images" in done.stdout
    assert not unfinished.exists()


def test_commands_work_beside_a_running_service(server: Server, settings: Settings) -> None:
    server.start()
    migrated = server.command("migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert "none, the tables are up to date" in migrated.stderr
    (image := settings.uploads / "2026/01/01" / f"{0:032x}.jpg").parent.mkdir(parents=True)
    image.touch()
    swept = server.command("sweep", "--older-than", "0")
    assert swept.stdout == "1 images deleted\n", swept.stderr


def test_unwritable_target_is_reported(server: Server, tmp_path: Path) -> None:
    done = server.command("backup", str(tmp_path / "nowhere" / "all.tar"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert list(tmp_path.glob("*.part")) == []


def test_dry_run_deletes_nothing(server: Server) -> None:
    server.start()
    httpx.post(f"{server.url}/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait=30"}, timeout=60)
    assert "set RETENTION_DAYS or RETENTION_BYTES" in server.command("retain").stderr
    server.environment["RETENTION_BYTES"] = "1"
    size = len(jpeg())
    message = f"1 predictions with {size} bytes of images"
    assert server.command("retain", "--dry-run").stdout == f"{message} would be deleted\n"
    assert server.command("retain").stdout == f"{message} were deleted\n"
    assert httpx.get(f"{server.url}/predictions/").json() == []
