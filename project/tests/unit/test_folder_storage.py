from pathlib import Path

import pytest

from app.domain import ImageMissing, StorageUnavailable
from app.storage.folder import FolderStorage
from app.storage.keys import OWNER


async def test_stored_image_can_be_read_and_deleted(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    await storage.set_owner("me")
    key = await storage.put(b"bytes", "jpg")
    assert await storage.read(key) == b"bytes"
    await storage.delete([key])
    with pytest.raises(ImageMissing):
        await storage.read(key)
    await storage.delete([key])


async def test_key_is_chosen_by_the_server(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    await storage.set_owner("me")
    keys = {await storage.put(b"same", "png") for _ in range(3)}
    assert len(keys) == 3
    stored = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert stored == keys | {OWNER}


async def test_unmarked_folder_is_unavailable(tmp_path: Path) -> None:
    # Not mounted on this host: no image is to be given up for that.
    shared = FolderStorage(tmp_path / "shared")
    await shared.set_owner("me")
    key = await shared.put(b"bytes", "jpg")
    (tmp_path / "local" / "lost+found").mkdir(parents=True)
    for name in ("local", "absent"):
        storage = FolderStorage(tmp_path / name)
        with pytest.raises(StorageUnavailable):
            await storage.read(key)
        # Nor is one to be hidden behind the folder, once it is mounted.
        with pytest.raises(StorageUnavailable):
            await storage.put(b"bytes", "jpg")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("key", ["../outside.jpg", "/etc/hostname", "a/../../outside.jpg"])
async def test_key_never_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    with pytest.raises(ImageMissing):
        await FolderStorage(tmp_path / "uploads").read(key)


async def test_unwritable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file where the folder should be")
    with pytest.raises(StorageUnavailable):
        await FolderStorage(tmp_path / "uploads").put(b"bytes", "jpg")
