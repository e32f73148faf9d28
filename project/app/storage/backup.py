"""Backups: one tar file with a manifest, each table as CSV, and the images.

The service writes it itself, so a backup needs neither PostgreSQL's programs nor access to the storage, and can be read
without the service. Tables are read in one transaction, as of one moment; images never change.
"""

import json
import logging
import os
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from app import __version__
from app.db.crud import api_keys, dump
from app.db.migrations import migration_files
from app.db.transactions import transaction
from app.domain import ImageMissing, StartupError
from app.observability.log_events import IMAGE_MISSING
from app.storage import Storage, ownership
from app.storage.keys import is_key

log = logging.getLogger(__name__)

TABLES: Final = (
    *("api_keys", "predictions", "past_answers", "tabular_predictions", "deliveries", "idempotency_keys", "changes"),
)
"""In an order that satisfies foreign keys. Sessions, rate limits and workers are transient."""
MANIFEST: Final = "manifest.json"
END: Final = "end.json"
"""The last file: a backup without it is incomplete."""
IMAGES: Final = "images/"
MAX_MANIFEST_BYTES: Final = 2**20
MAX_HEADER_BYTES: Final = 2**16


@dataclass(frozen=True, slots=True)
class BackupCounts:
    """Contents of a backup."""

    rows: int
    images: int
    missing: int = 0
    """Images that are missing although their rows exist."""


async def write_backup(storage: Storage, to: Path) -> BackupCounts:
    """Write a backup; the file gets its name once it is complete.

    Raises StartupError if it cannot be written, DatabaseUnavailable or StorageUnavailable.
    """
    unfinished = to.with_name(f"{to.name}.part")
    try:
        with unfinished.open("xb") as file:
            try:
                with tarfile.open(fileobj=file, mode="w") as archive:
                    counts = await _write(archive, storage)
                file.flush()
                os.fsync(file.fileno())
                unfinished.rename(to)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StartupError(f"The backup cannot be written to {to}: {error.strerror or error}.") from error
    return counts


async def _write(archive: tarfile.TarFile, storage: Storage) -> BackupCounts:
    rows: dict[str, int] = {}
    async with dump.snapshot():
        manifest = {"version": __version__, "made_at": datetime.now(UTC).isoformat(), "migrations": migration_files()}
        _add(archive, MANIFEST, json.dumps(manifest, indent=1).encode())
        for table in TABLES:
            with tempfile.TemporaryFile() as file:
                rows[table] = await dump.copy_out(table, file)
                _add_file(archive, f"tables/{table}.csv", file)
        keys = [key async for key in dump.image_paths()]
    missing = 0
    for key in keys:
        try:
            _add(archive, IMAGES + key, await storage.read(key))
        except ImageMissing:
            # Deleted in the meantime, or lost earlier: its row is restored without the image, as it was.
            log.warning(IMAGE_MISSING, key)
            missing += 1
    counts = BackupCounts(sum(rows.values()), len(keys) - missing, missing)
    _add(archive, END, json.dumps(asdict(counts)).encode())
    return counts


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    _add_file(archive, name, BytesIO(data))


def _add_file(archive: tarfile.TarFile, name: str, file: BinaryIO) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    archive.addfile(entry, file)


async def restore(
    storage: Storage, source: Path, max_image_bytes: int, *, with_keys: bool
) -> tuple[BackupCounts, list[str]]:
    """Restore a backup into an empty, migrated database and an empty storage.

    The file may come from anybody: its images must have names as this service gives them, and its API keys are revoked
    unless ``with_keys``. All rows are restored, or none. Returns the counts, and the names of its valid keys.

    Raises StartupError if the file is not a backup, an image exceeds ``max_image_bytes``, or the target is not empty.
    """
    if not await dump.is_empty():
        raise StartupError("The database is not empty: a backup can only be restored into an empty database.")
    await ownership.claim(storage)
    rows = images = 0
    try:
        with tarfile.open(source, mode="r:") as archive:
            _check(json.loads(_open(archive, MANIFEST, MAX_MANIFEST_BYTES).read()))
            _open(archive, END, MAX_MANIFEST_BYTES)
            async with transaction():
                for table in TABLES:
                    rows += await _restore_table(table, archive)
                await _check_image_paths()
                keys = await api_keys.names_of_valid()
                if not with_keys:
                    await api_keys.revoke_all()
                # Images are stored before the rows are committed, so every visible row has its image.
                for entry in archive:
                    key = entry.name.removeprefix(IMAGES)
                    if entry.name != key and is_key(key):
                        await storage.put_at(key, _open(archive, entry, max_image_bytes).read())
                        images += 1
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError, *dump.LOAD_ERRORS) as error:
        raise StartupError(f"{source} cannot be restored: {error}.") from error
    return BackupCounts(rows, images), keys


async def _check_image_paths() -> None:
    """Every restored row must name an image as the service does: rows decide which files are deleted later."""
    async for path in dump.image_paths():
        if not is_key(path):
            raise ValueError(f"it has an image with the invalid name {path[:100]!r}")


def _check(manifest: dict[str, Any]) -> None:
    if unknown := sorted(set(manifest["migrations"]) - set(migration_files())):
        raise StartupError(
            f"The backup was made by a newer version ({manifest['version']}, {unknown[0]}): install that version."
        )


def _open(archive: tarfile.TarFile, name: str | tarfile.TarInfo, max_bytes: int | None = None) -> BinaryIO:
    entry = archive.getmember(name) if isinstance(name, str) else name
    # tarfile would follow links, and fill sparse files with zeros.
    if not entry.isfile() or entry.issparse():
        raise ValueError(f"{entry.name} is not a regular file")
    if max_bytes is not None and entry.size > max_bytes:
        raise ValueError(f"{entry.name} has {entry.size} bytes, and the limit is {max_bytes}")
    file = archive.extractfile(entry)
    if file is None:
        raise KeyError(entry)
    return cast(BinaryIO, file)


async def _restore_table(table: str, archive: tarfile.TarFile) -> int:
    file = _open(archive, f"tables/{table}.csv")
    # An older version's table may have fewer columns; the CSV's header names them.
    columns = file.readline(MAX_HEADER_BYTES).decode().strip().split(",")
    file.seek(0)
    return await dump.copy_in(table, file, columns)
