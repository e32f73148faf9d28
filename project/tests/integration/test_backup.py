"""Backups beside a running service, and commands without a time limit for statements."""

import io
import json
import tarfile
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.db.advisory_locks import KEEP_IMAGES
from app.db.connection import connected, execute
from app.db.crud import dump
from app.domain import DatabaseUnavailable, StartupError
from app.storage import make_storage
from app.storage.backup import ADDED_TABLES, MANIFEST, TABLES, write_backup
from app.storage.folder import FolderStorage
from app.storage.restore import restore
from app.storage.sweeper import sweep
from tests.drawings import circles
from tests.integration.conftest import Upload, uploaded_files
from tests.pictures import jpeg
from tests.polling import until
from tests.teaching import taught
from tests.uploading import WAIT


async def test_images_deleted_during_a_backup_are_kept_until_it_ends(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    storage = make_storage(settings)
    await upload(jpeg(300))
    await upload(jpeg(301))
    async with dump.images_kept(), dump.images_kept():
        assert (await client.delete("/predictions/1/")).status_code == 200
        assert await sweep(storage, timedelta(0)) == 0
        assert len(uploaded_files(settings)) == 2
    assert await sweep(storage, timedelta(0)) == 1
    assert (await client.delete("/predictions/2/")).status_code == 200
    assert uploaded_files(settings) == []


async def test_backup_beside_deletions_has_the_image_of_every_row(
    client: httpx.AsyncClient, upload: Upload, settings: Settings, tmp_path: Path
) -> None:
    for number in range(9):
        await upload(jpeg(300 + number))
    ids = {row["image_path"]: row["id"] for row in (await client.get("/predictions/")).json()}

    class DeletingStorage(FolderStorage):
        """Each prediction is deleted just before its image is read."""

        async def read(self, key: str) -> bytes:
            assert (await client.delete(f"/predictions/{ids[key]}/")).status_code == 200
            return await super().read(key)

    storage = DeletingStorage(settings.uploads)
    counts = await write_backup(storage, tmp_path / "all.tar", lambda *_: None)
    assert (counts.images, counts.missing) == (9, 0)
    assert (await client.get("/predictions/")).json() == []


async def test_progress_is_reported(
    client: httpx.AsyncClient, upload: Upload, settings: Settings, tmp_path: Path
) -> None:
    for number in range(9):
        await upload(jpeg(300 + number))
    reports: list[tuple[str, int, int]] = []
    await write_backup(make_storage(settings), tmp_path / "all.tar", lambda *report: reports.append(report))
    assert [report for report in reports if report[0] == "images"] == [("images", 0, 9), ("images", 8, 9)]
    assert reports[0] == ("tables", 0, len(TABLES))
    for prediction in (await client.get("/predictions/")).json():
        await client.delete(f"/predictions/{prediction['id']}/")
    reports.clear()
    counts, _ = await restore(
        make_storage(settings),
        tmp_path / "all.tar",
        settings.max_upload_bytes,
        with_keys=False,
        report=lambda *report: reports.append(report),
    )
    assert counts.images == 9
    assert [report for report in reports if report[0] == "images"] == [("images", 0, 9), ("images", 8, 9)]


async def test_bulk_work_has_no_time_limit_for_statements(database_url: str, settings: Settings) -> None:
    async with connected(database_url, settings, statement_seconds=0.1):
        with pytest.raises(TimeoutError):
            await execute("SELECT pg_sleep(0.3)")
    async with connected(database_url, settings, statement_seconds=None):
        await execute("SELECT pg_sleep(0.3)")


async def test_backup_ends_if_its_lock_is_lost(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ready")).status_code == 200

    async def back_up() -> None:
        async with dump.images_kept() as check_kept:
            await execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1",
                [KEEP_IMAGES],
            )
            await check_kept()

    with pytest.raises(DatabaseUnavailable):
        await back_up()


async def _taught(client: httpx.AsyncClient) -> str:
    """The version of a custom model that was trained with two labels."""
    await taught(client, 4)
    thresholds = {"sure_from": 0.5, "labels": {"circle": 0.9}}
    assert (await client.put("/models/shapes/decision", json=thresholds)).status_code == 200
    version: str = (await client.get("/models/shapes")).json()["model_version"]
    return version


async def _empty(client: httpx.AsyncClient) -> None:
    """Make the database and the storage as they are in a new installation."""
    for prediction in (await client.get("/predictions/")).json():
        assert (await client.delete(f"/predictions/{prediction['id']}/")).status_code == 200
    await execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY CASCADE")


async def _restore(settings: Settings, backup: Path) -> None:
    storage = make_storage(settings)
    await restore(storage, backup, settings.max_upload_bytes, with_keys=False, report=lambda *_: None)


async def test_custom_models_are_restored(client: httpx.AsyncClient, settings: Settings, tmp_path: Path) -> None:
    version = await _taught(client)
    await write_backup(make_storage(settings), tmp_path / "all.tar", lambda *_: None)
    await _empty(client)
    await _restore(settings, tmp_path / "all.tar")
    assert (await client.get("/models/shapes")).json()["model_version"] == version
    assert (await client.get("/models/shapes/decision")).json()["labels"] == {"circle": 0.9}
    # The embeddings and the examples are there, too: another version can be trained, which has the next number.
    second = (await client.post("/models/shapes/train", headers=WAIT)).json()
    assert (second["version"], second["examples"]) == (2, 8)
    response = await client.post("/predictions/", files={"file": circles(100)}, data={"model": "shapes"}, headers=WAIT)
    assert response.json()["top_prediction"] == "circle"


@pytest.mark.parametrize("first_missing", list(ADDED_TABLES))
async def test_backup_of_a_version_without_later_tables_is_restored(
    client: httpx.AsyncClient, upload: Upload, settings: Settings, tmp_path: Path, first_missing: str
) -> None:
    await upload(jpeg(300))
    await write_backup(make_storage(settings), tmp_path / "new.tar", lambda *_: None)
    migrations = list(ADDED_TABLES)
    missing = migrations[migrations.index(first_missing) :]
    tables = [table for migration in missing for table in ADDED_TABLES[migration]]
    with tarfile.open(tmp_path / "new.tar") as new, tarfile.open(tmp_path / "old.tar", "w") as old:
        for entry in new:
            data = new.extractfile(entry)
            assert data is not None
            content = data.read()
            if entry.name == MANIFEST:
                manifest = json.loads(content)
                manifest["migrations"] = [name for name in manifest["migrations"] if name not in missing]
                content = json.dumps(manifest).encode()
            if not any(entry.name == f"tables/{table}.csv" for table in tables):
                entry.size = len(content)
                old.addfile(entry, io.BytesIO(content))
    await _empty(client)
    await _restore(settings, tmp_path / "old.tar")
    assert len((await client.get("/predictions/")).json()) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE trainings SET head = NULL",
        """UPDATE trainings SET metrics = '{}'""",
        "UPDATE examples SET use = 'both'",
        "UPDATE custom_models SET name = '../x'",
        "UPDATE decision_thresholds SET sure_from = 2",
        """UPDATE custom_models SET label_names = '{"labels": 3}'""",
        """UPDATE decision_thresholds SET labels = '{"circle": "high"}'""",
    ],
)
async def test_backups_with_impossible_custom_models_are_refused(
    client: httpx.AsyncClient, settings: Settings, tmp_path: Path, spoil: str
) -> None:
    await _taught(client)
    await execute(spoil)
    await write_backup(make_storage(settings), tmp_path / "all.tar", lambda *_: None)
    # The running service need not cope with them, and may have read them meanwhile.
    await execute("UPDATE custom_models SET label_names = NULL")
    await until(lambda: client.get("/predictions/"), lambda response: response.status_code == HTTPStatus.OK)
    await _empty(client)
    with pytest.raises(StartupError, match="not as the service writes them"):
        await _restore(settings, tmp_path / "all.tar")
