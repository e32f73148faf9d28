"""Backups: one tar file with a manifest, each table as CSV, and the images.

The service writes it itself, so a backup needs neither PostgreSQL's programs nor access to the storage, and can be read
without the service. Tables are read in one transaction, as of one moment; images never change.
"""

import json
import logging
import os
import tarfile
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import asyncpg
from tortoise.exceptions import OperationalError

from app import __version__, ownership
from app.db import execute, migration_files, raw_connection, transaction
from app.domain import ImageMissing, StartupError
from app.log_events import IMAGE_MISSING
from app.storage import Storage, is_key

log = logging.getLogger(__name__)

TABLES: Final = (
    *("api_keys", "predictions", "past_answers", "tabular_predictions", "deliveries", "idempotency_keys", "changes"),
)
"""In an order that satisfies foreign keys. Sessions, rate limits and workers are transient."""
MANIFEST: Final = "manifest.json"
END: Final = "end.json"
"""The last file: a backup without it is incomplete."""
IMAGES: Final = "images/"
ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Counts:
    """Contents of a backup."""

    rows: int
    images: int
    missing: int = 0
    """Images that are missing although their rows exist."""


async def write_backup(storage: Storage, to: Path) -> Counts:
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


async def _write(archive: tarfile.TarFile, storage: Storage) -> Counts:
    rows: dict[str, int] = {}
    async with transaction():
        await execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        manifest = {"version": __version__, "made_at": datetime.now(UTC).isoformat(), "migrations": migration_files()}
        _add(archive, MANIFEST, json.dumps(manifest, indent=1).encode())
        for table in TABLES:
            with tempfile.TemporaryFile() as file:
                async with raw_connection() as connection:
                    told = await connection.copy_from_table(table, output=file, format="csv", header=True)
                rows[table] = int(told.split()[-1])
                _add_file(archive, f"tables/{table}.csv", file)
        keys = [key async for key in _image_paths()]
    missing = 0
    for key in keys:
        try:
            _add(archive, IMAGES + key, await storage.read(key))
        except ImageMissing:
            # Deleted in the meantime, or lost earlier: its row is restored without the image, as it was.
            log.warning(IMAGE_MISSING, key)
            missing += 1
    counts = Counts(sum(rows.values()), len(keys) - missing, missing)
    _add(archive, END, json.dumps(asdict(counts)).encode())
    return counts


async def _image_paths() -> AsyncIterator[str]:
    last_id = 0
    while rows := await execute(
        "SELECT id, image_path FROM predictions WHERE id > $1 ORDER BY id LIMIT $2", [last_id, ROWS]
    ):
        for row in rows:
            yield row["image_path"]
        last_id = rows[-1]["id"]


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    _add_file(archive, name, BytesIO(data))


def _add_file(archive: tarfile.TarFile, name: str, file: BinaryIO) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    archive.addfile(entry, file)


async def restore(storage: Storage, source: Path) -> Counts:
    """Restore a backup into an empty, migrated database and an empty storage.

    All rows are restored, or none. Raises StartupError if the file is not a backup or the target is not empty.
    """
    if (await execute("SELECT EXISTS (SELECT FROM predictions) OR EXISTS (SELECT FROM api_keys) AS found"))[0]["found"]:
        raise StartupError("The database is not empty: a backup can only be restored into an empty database.")
    await ownership.take(storage)
    rows = images = 0
    try:
        with tarfile.open(source, mode="r:") as archive:
            _check(json.loads(_opened(archive, MANIFEST).read()))
            _opened(archive, END)
            async with transaction():
                for table in TABLES:
                    rows += await _restore_table(table, archive)
                # Images are stored before the rows are committed, so every visible row has its image.
                for entry in archive:
                    key = entry.name.removeprefix(IMAGES)
                    if entry.name != key and entry.isfile() and is_key(key):
                        await storage.put_at(key, _opened(archive, entry).read())
                        images += 1
    except (OSError, tarfile.TarError, KeyError, ValueError, asyncpg.PostgresError, OperationalError) as error:
        raise StartupError(f"{source} cannot be restored: {error}.") from error
    return Counts(rows, images)


def _check(manifest: dict[str, Any]) -> None:
    if unknown := sorted(set(manifest["migrations"]) - set(migration_files())):
        raise StartupError(
            f"The backup was made by a newer version ({manifest['version']}, {unknown[0]}): install that version."
        )


def _opened(archive: tarfile.TarFile, entry: str | tarfile.TarInfo) -> BinaryIO:
    file = archive.extractfile(entry)
    if file is None:
        raise KeyError(entry)
    return cast(BinaryIO, file)


async def _restore_table(table: str, archive: tarfile.TarFile) -> int:
    file = _opened(archive, f"tables/{table}.csv")
    # An older version's table may have fewer columns; the CSV's header names them.
    columns = file.readline().decode().strip().split(",")
    file.seek(0)
    async with raw_connection() as connection:
        told = await connection.copy_to_table(table, source=file, columns=columns, format="csv", header=True)
    if "id" in columns:
        # IDs of new rows continue after the restored ones.
        newest = (await execute(f"SELECT coalesce(max(id), 0) AS id FROM {table}"))[0]["id"]  # noqa: S608 - a name of ours # nosec B608
        await execute("SELECT setval(pg_get_serial_sequence($1, 'id'), $2, false)", [table, newest + 1])
    return int(told.split()[-1])
