"""Upgrades from every earlier version of the tables keep all data."""

import shutil
from pathlib import Path

import httpx
import pytest
from aerich import Command
from pydantic import SecretStr

from app.config import MIGRATIONS_DIR, Settings
from app.db.connection import APP
from app.db.embedded import embedded_postgres
from app.db.migrations import migrate, migration_config, migration_files
from tests.integration.conftest import execute, serving
from tests.integration.versions import IMAGE_PATH, KEY, PENDING, WRITTEN
from tests.pictures import jpeg
from tests.uploading import upload

pytestmark = pytest.mark.process


async def make(url: str, version: int, folder: Path) -> None:
    """Create the tables of a version with their data."""
    models = folder / "models"
    models.mkdir(parents=True)
    for name in migration_files()[: version + 1]:
        shutil.copy(MIGRATIONS_DIR / "models" / name, models)
    command = Command(migration_config(url), app=APP, location=str(folder))
    async with command:
        await command.init()
        assert len(await command.upgrade(run_in_transaction=True)) == version + 1
    await execute(url, *(WRITTEN[number] for number in range(version + 1) if WRITTEN[number]))


def on(url: str, settings: Settings, folder: Path) -> Settings:
    """Settings for a service on a database. Some versions have keys, whose secrets are not known here."""
    changes = {"database_url": SecretStr(url), "uploads_dir": folder / "images", "allow_anonymous": True}
    return settings.model_copy(update=changes)


def test_dumps_of_every_version_exist() -> None:
    assert list(WRITTEN) == list(range(len(migration_files())))


@pytest.mark.parametrize("version", WRITTEN)
async def test_upgrade_keeps_all_data(
    empty_database_url: str, version: int, settings: Settings, tmp_path: Path
) -> None:
    await make(empty_database_url, version, tmp_path / "migrations")
    settings = on(empty_database_url, settings, tmp_path)
    image = settings.uploads / IMAGE_PATH
    image.parent.mkdir(parents=True)
    image.write_bytes(jpeg())

    assert await migrate(empty_database_url, settings) == migration_files()[version + 1 :]
    async with serving(settings) as client:
        await check(client, version)
        # What was to be done is done, and it goes on where it was.
        late = (await client.get(f"/predictions/{PENDING}/?wait=30")).json()
        assert late["status"] == "succeeded"
        assert late["attempts"] == 1
        assert len(late["all_predictions"]) == 5
        uploaded = await client.post("/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait=30"})
        assert uploaded.status_code == 201
        assert uploaded.json()["id"] == PENDING + 1
        assert (await client.delete("/predictions/1/")).status_code == 200


async def test_service_migrates_its_embedded_database(settings: Settings, tmp_path: Path) -> None:
    async with embedded_postgres(settings.data_dir, 60) as url:
        await make(url, 7, tmp_path / "migrations")
    async with serving(settings.model_copy(update={"database_url": None, "allow_anonymous": True})) as client:
        assert (await client.get("/ready")).status_code == 200
        await check(client, 7)


async def check(client: httpx.AsyncClient, version: int) -> None:
    rows = {row["id"]: row for row in (await client.get("/predictions/")).json()}
    assert list(rows) == [4, 3, 2, 1]
    cat, corrected, broken = rows[1], rows[2], rows[3]
    assert cat["filename"] == "cat.jpg"
    assert cat["top_prediction"] == "tabby"
    assert cat["confidence"] == 0.61
    assert [score["label"] for score in cat["all_predictions"]] == ["tabby", "tiger_cat"]
    assert cat["created_at"] == "2026-11-21T10:00:00Z"
    assert cat["completed_at"] == "2026-11-21T10:00:02Z"
    assert corrected["filename"] == "Käse 🐈.png"
    assert corrected["top_prediction"] == "cheese"
    assert corrected["corrected_at"] == "2026-11-21T11:00:00Z"
    assert corrected["reviewed_at"] == corrected["corrected_at"]
    assert corrected["reviewed_by"] == ("anna" if version >= 8 else None)
    assert corrected["verdict"] == "corrected"
    assert corrected["cached"] is (version >= 3)
    assert broken["status"] == "failed"
    assert broken["error"]["code"] == "image_unreadable"
    found = (await client.get("/predictions/", params={"q": "käse"})).json()
    assert [row["id"] for row in found] == [2]
    history = (await client.get("/predictions/1/history/")).json()
    first = (await client.get("/predictions/1/")).json()
    assert first["categories"] == ([{"name": "cat", "confidence": 0.9}] if version >= 19 else None)
    assert first["decision"] == ("sure" if version >= 21 else None)
    decision = (await client.get("/models/efficientnet_lite0/decision")).json()
    assert (decision["sure_from"], decision["source"]) == ((0.7, "chosen") if version >= 22 else (0.4, "model"))
    assert [past["top_prediction"] for past in history] == (["lynx"] if version >= 1 else [])
    delivered = (await client.get("/predictions/1/deliveries/")).json()
    assert [one["status"] for one in delivered] == (["delivered"] if version >= 4 else [])
    with_key = await client.get("/predictions/", headers={"X-API-Key": KEY})
    assert with_key.status_code == (200 if version >= 7 else 401)
    changes = (await client.get("/predictions/2/history/")).json()
    assert [change["who"] for change in changes] == (["anna"] if version >= 8 else [])


@pytest.mark.parametrize("version", list(WRITTEN)[:-1:3])
async def test_service_on_earlier_tables_says_that_they_must_be_migrated(
    empty_database_url: str, version: int, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An upgraded service that was started before `./classifier migrate` has no 500 for anybody."""
    await make(empty_database_url, version, tmp_path / "migrations")
    settings = on(empty_database_url, settings, tmp_path)
    async with serving(settings) as client:
        paths = [
            "/predictions/",
            "/predictions/1/",
            "/predictions/?q=cat",
            "/history/1",
            "/statistics",
            "/",
            "/gallery",
        ]
        paths += ["/predictions/export.csv", "/predictions/1/image", "/models", "/info", "/metrics", "/ready", "/ping"]
        html = {"Accept": "text/html"}
        answers = [await client.get(path, headers=headers) for path in paths for headers in ({}, html)]
        answers += [await client.get("/predictions/", headers={"X-API-Key": KEY})]
        answers += [await upload(client), await upload(client, key="one"), await upload(client, wait=True)]
        answers += [await client.put("/predictions/1/", json={"top_prediction": "mine", "confidence": 1})]
        answers += [await client.post("/predictions/1/reclassify", json={}), await client.delete("/predictions/1/")]
    for answer in answers:
        assert answer.status_code != 500, (answer.request.method, answer.url, answer.text)
    refused = [answer for answer in answers if answer.status_code == 503 and "json" in answer.headers["content-type"]]
    # Without the table of installations, the image storage cannot be this database's yet.
    codes = {answer.json().get("code", "tables_missing") for answer in refused}
    assert codes - {"storage_unavailable"} == {"tables_missing"}
    assert not [record for record in caplog.records if record.exc_info], caplog.text
