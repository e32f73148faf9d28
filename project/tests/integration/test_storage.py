"""Storages: the same tests for folders and S3."""

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.db.connection import connected
from app.db.crud import installation
from app.db.migrations import migrate
from app.domain import ImageMissing, StartupError, StorageUnavailable
from app.storage import Storage, make_storage, ownership
from app.storage.folder import FolderStorage
from app.storage.keys import OWNER
from app.storage.s3 import S3Storage
from app.storage.sweeper import sweep
from tests.integration.conftest import execute, serving, uploaded_files
from tests.pictures import jpeg
from tests.s3 import S3Server, s3_server
from tests.uploading import WAIT, classify

NOW = timedelta(0)
HOUR = timedelta(hours=1)


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(params=["folder", "s3"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        made: Storage = FolderStorage(tmp_path / "uploads")
    else:
        made = S3Storage(request.getfixturevalue("s3").url)
    await made.prepare()
    return made


async def keys_of(storage: Storage, age: timedelta = NOW) -> set[str]:
    return {key async for keys in storage.older_than(age) for key in keys}


async def test_stored_image_can_be_read_until_it_is_deleted(storage: Storage) -> None:
    await storage.set_owner("the tests")
    assert await storage.owner() == "the tests"
    keys = await asyncio.gather(*(storage.put(b"image %d" % n, "jpg") for n in range(40)))
    assert len(set(keys)) == 40
    assert [await storage.read(key) for key in keys] == [b"image %d" % n for n in range(40)]
    assert await keys_of(storage) - {OWNER} == set(keys)
    assert await keys_of(storage, HOUR) == set()
    await storage.delete(keys[:30])
    # Again, with others that are there.
    await storage.delete(keys[20:35])
    assert await keys_of(storage) - {OWNER} == set(keys[35:])
    with pytest.raises(ImageMissing):
        await storage.read(keys[0])


@pytest.mark.usefixtures("s3")
async def test_missing_bucket_is_not_a_missing_image() -> None:
    with pytest.raises(StorageUnavailable):
        await S3Storage("s3://another-bucket/some/prefix").read("2026/11/25/a.jpg")


async def test_empty_storage_has_no_keys(storage: Storage) -> None:
    assert await keys_of(storage) == set()


async def test_sweep_removes_images_without_a_row(
    storage: Storage, settings: Settings, client: httpx.AsyncClient
) -> None:
    await ownership.claim(storage)
    row = await classify(client)
    named = FolderStorage(settings.uploads)
    assert await sweep(named, NOW) == 0
    assert await named.read(row["image_path"]) == jpeg()

    await storage.put(b"left over", "jpg")
    assert await sweep(storage, HOUR) == 0
    assert await sweep(storage, NOW) == 1
    assert await keys_of(storage) == {OWNER}


async def test_file_gets_its_name_only_when_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[set[str]] = []
    sync = os.fsync

    def looked_at(descriptor: int) -> None:
        names.append({path.suffix for path in tmp_path.rglob("*.*") if path.is_file() and path.name != OWNER})
        sync(descriptor)

    storage = FolderStorage(tmp_path)
    await storage.set_owner("me")
    monkeypatch.setattr("os.fsync", looked_at)
    await storage.put(b"bytes", "jpg")
    assert {".part"} in names
    assert {".jpg"} == names[-1]
    assert {".jpg", ".part"} not in names


@pytest.mark.usefixtures("connected")
async def test_partial_files_are_swept(tmp_path: Path) -> None:
    half = tmp_path / "2026" / "11" / "25" / f"{'3f' * 16}.jpg.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half an")
    storage = FolderStorage(tmp_path)
    await ownership.claim(storage)
    assert await sweep(storage, NOW) == 1
    assert not half.exists()


@pytest.mark.usefixtures("connected")
async def test_foreign_files_are_not_swept(tmp_path: Path) -> None:
    for name in ("notes.txt", "2026/11/25/holiday.jpg", f"2026/11/{'3f' * 16}.jpg", f"old/2026/11/25/{'3f' * 16}.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not ours")
    storage = FolderStorage(tmp_path)
    await ownership.claim(storage)
    assert await sweep(storage, NOW) == 0


async def test_sweep_keeps_images_of_another_database(
    storage: Storage, settings: Settings, empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A new database on an old folder, or a trial on the production bucket, has no row for any image."""
    await storage.set_owner("whoever stored it")
    key = await storage.put(b"an image", "jpg")
    await storage.delete([OWNER])
    await migrate(empty_database_url, settings)
    await execute(empty_database_url, "UPDATE installation SET id = gen_random_uuid()")
    async with connected(empty_database_url, settings):
        assert await sweep(storage, NOW) == 0
        with pytest.raises(StartupError, match="unknown to this database"):
            await ownership.claim(storage)
        await storage.set_owner(await installation.database_id())
        assert await ownership.is_owned(storage)
    async with connected(str(settings.database_url and settings.database_url.get_secret_value()), settings):
        assert await sweep(storage, NOW) == 0
        for claim in (ownership.claim, ownership.check):
            with pytest.raises(StartupError, match="belong to another database"):
                await claim(storage)
    assert await storage.read(key) == b"an image"
    assert "is not marked as this database's storage: deleting nothing" in caplog.text


async def test_unmarked_images_of_an_earlier_version_are_adopted(settings: Settings) -> None:
    async with serving(settings) as client:
        row = await classify(client)
    (settings.uploads / OWNER).unlink()
    async with serving(settings) as client:
        again = await client.post(f"/predictions/{row['id']}/reclassify", headers=WAIT)
        assert again.json()["status"] == "succeeded"
    assert (settings.uploads / OWNER).exists()


async def test_uploads_are_stored_only_in_the_bucket(s3: S3Server, settings: Settings) -> None:
    settings = settings.model_copy(update={"storage_url": s3.url})
    async with serving(settings) as client:
        answer = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers=WAIT)
        row = answer.json()
        assert answer.status_code == 201
        assert row["status"] == "succeeded"
        assert s3.objects() == {row["image_path"]}
        again = (await client.post(f"/predictions/{row['id']}/reclassify", headers=WAIT)).json()
        assert again["status"] == "succeeded"
        assert again["top_prediction"] == row["top_prediction"]
        await client.delete(f"/predictions/{row['id']}/")
        assert s3.objects() == set()
    assert uploaded_files(settings) == []


async def test_unavailable_store_is_503_and_predictions_wait(s3: S3Server, settings: Settings) -> None:
    settings = settings.model_copy(update={"storage_url": s3.url, "recover_seconds": 0.2})
    async with serving(settings) as client:
        row = await classify(client)
        s3.kill()
        refused = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())})
        assert refused.status_code == 503
        assert refused.json()["code"] == "storage_unavailable"
        assert "Retry-After" in refused.headers
        # Its image cannot be read now, which is no fault of its own.
        waiting = (await client.post(f"/predictions/{row['id']}/reclassify")).json()
        assert waiting["status"] == "pending"
        s3.start()
        async with asyncio.timeout(30):
            while (found := (await client.get(f"/predictions/{row['id']}/")).json())["status"] != "succeeded":
                await asyncio.sleep(0.05)
        assert found["attempts"] == 1
        assert len((await client.get("/predictions/")).json()) == 1


async def test_store_that_denies_access_is_a_one_line_error(
    s3: S3Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    storage = make_storage(settings.model_copy(update={"storage_url": s3.url}))
    with pytest.raises(StartupError) as raised:
        await storage.prepare()
    assert raised.value.message.startswith(f"Images cannot be stored in {s3.url}: ")
    assert "\n" not in raised.value.message
    with pytest.raises(StorageUnavailable):
        await storage.put(b"bytes", "jpg")


def test_other_storage_urls_are_rejected() -> None:
    with pytest.raises(ValueError, match="storage_url"):
        Settings(storage_url="ftp://somewhere/else")
