"""Restores backups: first the images, then all rows in one transaction, so that every visible row has its image."""

import asyncio
import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from app.classifier.names.catalog import LabelCatalog, NamesInvalid
from app.db.crud import api_keys, custom_models, dump, installation
from app.db.migrations import migration_files
from app.db.transactions import transaction
from app.domain import DatabaseUnavailable, StartupError, StorageUnavailable
from app.storage import Storage, ownership
from app.storage.backup import (
    ADDED_TABLES,
    AT_ONCE,
    END,
    IMAGES,
    MANIFEST,
    TABLES,
    BackupCounts,
    ReportProgress,
    entries,
)
from app.storage.keys import is_key

MAX_MANIFEST_BYTES: Final = 2**20
MAX_HEADER_BYTES: Final = 2**16
GROUP_BYTES: Final = 32 * 2**20
"""Images that are stored at once have at most these bytes, unless one alone has more."""
POSTPONE_IMAGES: Final = 10_000
"""Images after which the next sweep is postponed again: it would delete images without rows."""

_Images = list[tuple[str, bytes]]
"""Storage keys and contents."""


@dataclass
class _Contents:
    """What an archive contains, without its images."""

    small: dict[str, bytes] = field(default_factory=dict)
    tables: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    images: int = 0


async def restore(
    storage: Storage, source: Path, max_image_bytes: int, *, with_keys: bool, report: ReportProgress
) -> tuple[BackupCounts, list[str]]:
    """Restore a backup into an empty, migrated database and an empty storage.

    The file may come from anybody: its images must have names as this service gives them, and its API keys are revoked
    unless ``with_keys``. Everything is restored, or nothing: the images of a restore that fails are deleted again.
    Returns the counts, and the names of its valid keys.

    Raises StartupError if the file is not a backup, an image exceeds ``max_image_bytes``, or the target is not empty;
    DatabaseUnavailable or StorageUnavailable.
    """
    if not await dump.is_empty():
        raise StartupError("The database is not empty: a backup can only be restored into an empty database.")
    await ownership.claim(storage)
    try:
        with tarfile.open(source, mode="r:") as archive:
            contents = await asyncio.to_thread(_inspect, archive, max_image_bytes)
            try:
                await _store_images(storage, archive, contents.images, report)
                rows, keys = await _load_tables(archive, contents, with_keys=with_keys, report=report)
            except BaseException as error:
                # If the rows may have been committed, the sweeper deletes the images of those that were not.
                if not (isinstance(error, DatabaseUnavailable) and error.outcome_unknown):
                    with suppress(StorageUnavailable):
                        await _delete_images(storage, archive)
                raise
    except (
        *(OSError, tarfile.TarError, KeyError, TypeError, ValueError, RecursionError),
        *dump.LOAD_ERRORS,
    ) as error:
        raise StartupError(f"{source} cannot be restored: {error}.") from error
    return BackupCounts(rows, contents.images), keys


def _inspect(archive: tarfile.TarFile, max_image_bytes: int) -> _Contents:
    """Read the directory of an archive, and check all that needs no database.

    Raises StartupError, tarfile.TarError or ValueError.
    """
    contents = _Contents()
    for entry in entries(archive):
        # tarfile would follow links, and fill sparse files with zeros.
        if not entry.isfile() or entry.issparse():
            raise ValueError(f"{entry.name} is not a regular file")
        if entry.name in {MANIFEST, END}:
            _check_size(entry, MAX_MANIFEST_BYTES)
            contents.small[entry.name] = _open(archive, entry).read()
        elif _image_key(entry):
            _check_size(entry, max_image_bytes)
            contents.images += 1
        else:
            contents.tables[entry.name] = entry
    if MANIFEST not in contents.small:
        raise ValueError("it is not a backup of this service")
    _check_version(json.loads(contents.small[MANIFEST]))
    if END not in contents.small:
        raise ValueError("it is incomplete: its end is missing")
    expected = json.loads(contents.small[END])["images"]
    if contents.images != expected:
        raise ValueError(f"it has {contents.images} images instead of {expected}")
    migrations = json.loads(contents.small[MANIFEST])["migrations"]
    later = {table for migration, tables in ADDED_TABLES.items() if migration not in migrations for table in tables}
    for table in TABLES:
        if _table_file(table) not in contents.tables and table not in later:
            raise ValueError(f"the table {table} is missing")
    return contents


def _check_version(manifest: Any) -> None:
    if not (isinstance(manifest, dict) and isinstance(manifest.get("migrations"), list)):
        raise ValueError("its manifest is not one of this service")  # noqa: TRY004 - contents, not an argument
    if unknown := sorted(set(manifest["migrations"]) - set(migration_files())):
        raise StartupError(
            f"The backup was made by a newer version ({manifest['version']}, {unknown[0]}): install that version."
        )


def _check_size(entry: tarfile.TarInfo, max_bytes: int) -> None:
    if entry.size > max_bytes:
        raise ValueError(f"{entry.name} has {entry.size} bytes, and the limit is {max_bytes}")


async def _store_images(storage: Storage, archive: tarfile.TarFile, total: int, report: ReportProgress) -> None:
    done = 0
    for group in _image_groups(archive):
        if done % POSTPONE_IMAGES < AT_ONCE:
            await installation.postpone_sweep()
        report("images", done, total)
        stored = await asyncio.gather(*(storage.put_at(key, data) for key, data in group), return_exceptions=True)
        if errors := [error for error in stored if error is not None]:
            raise errors[0]
        done += len(group)
    # The rows may take minutes.
    await installation.postpone_sweep()


def _image_groups(archive: tarfile.TarFile) -> Iterator[_Images]:
    group: _Images = []
    size = 0
    for entry in _from_start(archive):
        if key := _image_key(entry):
            if len(group) == AT_ONCE or (group and size + entry.size > GROUP_BYTES):
                yield group
                group, size = [], 0
            group.append((key, _open(archive, entry).read()))
            size += entry.size
    if group:
        yield group


async def _delete_images(storage: Storage, archive: tarfile.TarFile) -> None:
    for entry in _from_start(archive):
        if key := _image_key(entry):
            await storage.delete([key])


async def _load_tables(
    archive: tarfile.TarFile, contents: _Contents, *, with_keys: bool, report: ReportProgress
) -> tuple[int, list[str]]:
    rows = 0
    async with transaction():
        await api_keys.forget_environment_keys()
        for number, table in enumerate(TABLES):
            report("tables", number, len(TABLES))
            if entry := contents.tables.get(_table_file(table)):
                rows += await _load_table(table, _open(archive, entry))
        await _check_image_paths()
        if invalid := await dump.invalid_rows():
            raise ValueError(f"the rows of prediction {invalid[0]} are not as the service writes them")
        hashes = [model.names_hash for model in await custom_models.served() if model.names_hash]
        for names in (await custom_models.label_names(hashes)).values():
            try:
                LabelCatalog.from_json(names.encode())
            except NamesInvalid as error:
                raise ValueError(f"names of labels are not as the service writes them: {error}") from error
        keys = await api_keys.names_of_valid()
        if not with_keys:
            await api_keys.revoke_all()
    return rows, keys


async def _load_table(table: str, file: BinaryIO) -> int:
    # An older version's table may have fewer columns; the CSV's header names them.
    columns = file.readline(MAX_HEADER_BYTES).decode().strip().split(",")
    file.seek(0)
    return await dump.copy_in(table, file, columns)


async def _check_image_paths() -> None:
    """Every restored row must name an image as the service does: rows decide which files are deleted later."""
    async for path in dump.image_paths():
        if not is_key(path):
            raise ValueError(f"it has an image with the invalid name {path[:100]!r}")


def _image_key(entry: tarfile.TarInfo) -> str:
    """The storage key of an image's entry; empty for other entries."""
    key = entry.name.removeprefix(IMAGES)
    return key if entry.name != key and is_key(key) else ""


def _table_file(table: str) -> str:
    return f"tables/{table}.csv"


def _from_start(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The entries of an archive that was read before."""
    with tarfile.open(archive.name, mode="r:") as again:
        yield from entries(again)


def _open(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> BinaryIO:
    file = archive.extractfile(entry)
    if file is None:
        raise KeyError(entry)
    return cast(BinaryIO, file)
