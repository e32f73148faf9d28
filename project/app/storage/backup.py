"""Backups: one tar file with a manifest, each table as CSV, and the images; ``restore.py`` reads them.

The service writes it itself, so a backup needs neither PostgreSQL's programs nor access to the storage, and can be read
without the service. Tables are read in one transaction, as of one moment; images never change, and are not deleted
before the backup is complete.
"""

import asyncio
import json
import logging
import os
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from app import __version__
from app.db.crud import dump
from app.db.migrations import migration_files
from app.domain import DatabaseUnavailable, ImageMissing, StartupError
from app.observability.log_events import IMAGE_MISSING
from app.storage import Storage

log = logging.getLogger(__name__)

TABLES: Final = (
    *("api_keys", "predictions", "past_answers", "tabular_predictions", "custom_models", "trainings", "deliveries"),
    *("idempotency_keys", "changes", "examples", "embeddings", "decision_thresholds", "shadows", "shadow_answers"),
)
"""In an order that satisfies foreign keys. Sessions, rate limits and workers are transient."""
ADDED_TABLES: Final = {
    "13_20261127151402_custom_models.py": ("custom_models", "examples", "trainings", "embeddings"),
    "22_20261128033305_calibration.py": ("decision_thresholds",),
    "23_20261128040052_shadow.py": ("shadows", "shadow_answers"),
}
"""Tables that backups from before a migration lack."""
MANIFEST: Final = "manifest.json"
END: Final = "end.json"
"""The last file: a backup without it is incomplete."""
IMAGES: Final = "images/"
AT_ONCE: Final = 8
"""Images that are read or stored at once; each takes up to MAX_UPLOAD_BYTES of memory."""
CHECK_IMAGES: Final = 1_000
"""Images between checks that the lock still exists; they also keep its connection open."""

ReportProgress = Callable[[str, int, int], None]
"""Receives what is done (such as "images"), how many of them are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class BackupCounts:
    """Contents of a backup."""

    rows: int
    images: int
    missing: int = 0
    """Images that are missing although their rows exist."""


async def write_backup(storage: Storage, to: Path, report: ReportProgress) -> BackupCounts:
    """Write a backup; the file gets its name once it is complete.

    Raises StartupError if it cannot be written, DatabaseUnavailable or StorageUnavailable.
    """
    unfinished = to.with_name(f"{to.name}.part")
    try:
        with unfinished.open("xb") as file:
            try:
                async with dump.images_kept() as check_kept:
                    with tarfile.open(fileobj=file, mode="w") as archive:
                        counts = await _Writer(archive, storage, to.parent, report).write(check_kept)
                    await check_kept()
                file.flush()
                os.fsync(file.fileno())
                unfinished.rename(to)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise _not_written(to, error) from error
    return counts


def _not_written(to: Path, error: OSError) -> StartupError:
    return StartupError(f"The backup cannot be written to {to}: {error.strerror or error}.")


class _Writer:
    def __init__(self, archive: tarfile.TarFile, storage: Storage, folder: Path, report: ReportProgress) -> None:
        """``folder``: of the backup, where temporary files are."""
        self._archive = archive
        self._storage = storage
        self._folder = folder
        self._report = report

    async def write(self, check_kept: Callable[[], Awaitable[None]]) -> BackupCounts:
        rows: dict[str, int] = {}
        async with dump.snapshot():
            manifest = {
                "version": __version__,
                "made_at": datetime.now(UTC).isoformat(),
                "migrations": migration_files(),
            }
            self._add(MANIFEST, json.dumps(manifest, indent=1).encode())
            for number, table in enumerate(TABLES):
                self._report("tables", number, len(TABLES))
                rows[table] = await self._add_table(table)
            keys = [key async for key in dump.image_paths()]
        missing = 0
        for start in range(0, len(keys), AT_ONCE):
            if start % CHECK_IMAGES == 0:
                await check_kept()
            self._report("images", start, len(keys))
            missing += await self._add_images(keys[start : start + AT_ONCE])
        counts = BackupCounts(sum(rows.values()), len(keys) - missing, missing)
        self._add(END, json.dumps(asdict(counts)).encode())
        return counts

    async def _add_table(self, table: str) -> int:
        # Beside the backup, whose disk has room for it; the folder for temporary files may be small.
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                count = await dump.copy_out(table, file)
                await asyncio.to_thread(self._add_file, f"tables/{table}.csv", file)
        except DatabaseUnavailable:
            raise
        except OSError as error:
            # Here, because a transaction would take it for an error of the connection.
            raise _not_written(self._folder, error) from error
        return count

    async def _add_images(self, keys: Sequence[str]) -> int:
        """Add images; returns how many are missing."""
        missing = 0
        for key, data in zip(keys, await asyncio.gather(*map(self._image, keys)), strict=True):
            if data is None:
                log.warning(IMAGE_MISSING, key)
                missing += 1
            else:
                self._add(IMAGES + key, data)
        return missing

    async def _image(self, key: str) -> bytes | None:
        try:
            return await self._storage.read(key)
        except ImageMissing:
            # Lost earlier: its row is restored without the image, as it was.
            return None

    def _add(self, name: str, data: bytes) -> None:
        self._add_file(name, BytesIO(data))

    def _add_file(self, name: str, file: BinaryIO) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._archive.addfile(entry, file)
        _forget_entries(self._archive)


def entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, in order."""
    while entry := archive.next():
        _forget_entries(archive)
        yield entry


def _forget_entries(archive: tarfile.TarFile) -> None:
    """Tarfile keeps an object for each file, which are a gigabyte for a million."""
    cast(Any, archive).members.clear()
