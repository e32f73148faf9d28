"""``classifier backup``, ``restore`` and ``retain``."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

from app.config import Settings
from app.domain import DatabaseUnavailable, StartupError, StorageUnavailable


def add_backup_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("file", type=Path, help="file to write; it must not exist")


def add_restore_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("file", type=Path, help="file written by `backup`")


def add_retain_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--dry-run", action="store_true", help="only report how much would be deleted")


def backup(settings: Settings, options: argparse.Namespace) -> int:
    """Write all predictions, images and keys to one file; works while the service is running."""
    from app.backup import write_backup
    from app.db import database_in_use
    from app.storage import make_storage

    if options.file.exists():
        raise StartupError(f"{options.file} exists already: choose another file.")

    async def act() -> None:
        async with database_in_use(settings):
            counts = await write_backup(make_storage(settings), options.file)
        print(f"Wrote {counts.rows} rows and {counts.images} images to {options.file}")
        if counts.missing:
            print(f"{counts.missing} images were missing: see the log lines above")

    _run(act)
    return 0


def restore(settings: Settings, options: argparse.Namespace) -> int:
    """Restore a backup into an empty database and an empty storage."""
    from app.backup import restore as bring_back
    from app.db import connected, database_url, migrate
    from app.storage import make_storage

    if not options.file.is_file():
        raise StartupError(f"{options.file} does not exist.")

    async def act() -> None:
        storage = make_storage(settings)
        await storage.prepare()
        async with database_url(settings) as url:
            await migrate(url, settings)
            async with connected(url, settings):
                counts = await bring_back(storage, options.file)
        print(f"Restored {counts.rows} rows and {counts.images} images")

    _run(act)
    return 0


def retain(settings: Settings, options: argparse.Namespace) -> int:
    """Apply the retention settings now."""
    from app.db import database_in_use
    from app.retention import retain as remove
    from app.storage import make_storage

    if not (settings.retention_days or settings.retention_bytes):
        raise StartupError("Nothing to delete: set RETENTION_DAYS or RETENTION_BYTES.")

    async def act() -> None:
        async with database_in_use(settings):
            removed = await remove(make_storage(settings), settings, dry_run=options.dry_run)
        would = "would be deleted" if options.dry_run else "were deleted"
        print(f"{removed.predictions} predictions with {removed.bytes} bytes of images {would}")

    _run(act)
    return 0


def _run(act: Callable[[], Coroutine[None, None, None]]) -> None:
    try:
        asyncio.run(act())
    except (DatabaseUnavailable, StorageUnavailable) as error:
        raise StartupError(error.message) from error
