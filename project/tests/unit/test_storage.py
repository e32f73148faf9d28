from pathlib import Path

import pytest

from app.domain import ImageMissing, StorageUnavailable
from app.storage.folder import FolderStorage


async def test_what_is_put_can_be_read_and_deleted(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    await storage.set_owner("me")
    key = await storage.put(b"bytes", "jpg")
    assert await storage.read(key) == b"bytes"
    await storage.delete([key])
    with pytest.raises(ImageMissing):
        await storage.read(key)
    await storage.delete([key])


async def test_the_server_chooses_the_key(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    keys = {await storage.put(b"same", "png") for _ in range(3)}
    assert len(keys) == 3
    stored = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert stored == keys


async def test_a_folder_that_is_not_marked_is_not_the_one(tmp_path: Path) -> None:
    # Not mounted on this host: no image is to be given up for that.
    shared, local = FolderStorage(tmp_path / "shared"), FolderStorage(tmp_path / "local")
    key = await shared.put(b"bytes", "jpg")
    await local.put(b"something else", "jpg")
    for storage in (local, FolderStorage(tmp_path / "absent")):
        with pytest.raises(StorageUnavailable):
            await storage.read(key)


@pytest.mark.parametrize("key", ["../outside.jpg", "/etc/hostname", "a/../../outside.jpg"])
async def test_a_key_never_leaves_the_folder(tmp_path: Path, key: str) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    with pytest.raises(ImageMissing):
        await FolderStorage(tmp_path / "uploads").read(key)


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file where the folder should be")
    with pytest.raises(StorageUnavailable):
        await FolderStorage(tmp_path / "uploads").put(b"bytes", "jpg")
