"""``classifier backup``, ``restore``, ``retain`` and ``sweep``."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from app.config import Settings
from app.domain import DatabaseUnavailable, StartupError, StorageUnavailable


def add_backup_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("file", type=Path, help="file to write; it must not exist")


def add_restore_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("file", type=Path, help="file written by `backup`")
    parser.add_argument("--with-keys", action="store_true", help="keep its API keys valid (default: revoke them)")


def add_retain_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--dry-run", action="store_true", help="only report how much would be deleted")


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--older-than",
        type=float,
        metavar="SECONDS",
        help="only images stored at least this long ago (default: one hour more than MAX_WAIT_SECONDS)",
    )


def backup(settings: Settings, options: argparse.Namespace) -> int:
    """Write all predictions, images and keys to one file; works while the service is running."""
    from app.cli.operator import operator
    from app.cli.progress import Progress
    from app.db.connection import database_in_use
    from app.db.crud import audit_log
    from app.permissions import share_with_group
    from app.storage import make_storage
    from app.storage.backup import write_backup

    if options.file.exists():
        raise StartupError(f"{options.file} exists already: choose another file.")

    async def act() -> None:
        async with database_in_use(settings, statement_seconds=None):
            counts = await write_backup(make_storage(settings), options.file, Progress())
            await audit_log.record("backup.written", operator(), details={"file": options.file.name, **asdict(counts)})
        share_with_group(options.file, settings)
        print(f"Wrote {counts.rows} rows and {counts.images} images to {options.file}")
        if counts.missing:
            raise StartupError(
                f"{counts.missing} images are missing in the storage, and so in the backup: the lines above name them."
            )

    _run(act)
    return 0


def restore(settings: Settings, options: argparse.Namespace) -> int:
    """Restore a backup into an empty database and an empty storage."""
    from app.cli.operator import operator
    from app.cli.progress import Progress
    from app.db.connection import connected, database_url
    from app.db.crud import audit_log
    from app.db.migrations import migrate
    from app.storage import make_storage
    from app.storage.restore import restore as restore_backup

    if not options.file.is_file():
        raise StartupError(f"{options.file} does not exist.")

    async def act() -> None:
        storage = make_storage(settings)
        await storage.prepare()
        async with database_url(settings) as url:
            await migrate(url, settings)
            async with connected(url, settings, statement_seconds=None):
                counts, keys = await restore_backup(
                    storage,
                    options.file,
                    settings.max_upload_bytes,
                    with_keys=options.with_keys,
                    report=Progress(),
                )
                details = {"file": options.file.name, "with_keys": options.with_keys, **asdict(counts)}
                await audit_log.record("backup.restored", operator(), details=details)
        print(f"Restored {counts.rows} rows and {counts.images} images")
        if keys and options.with_keys:
            print(f"These API keys are valid: {', '.join(keys)}")
        elif keys:
            print(f"These API keys were revoked (--with-keys keeps them): {', '.join(keys)}")

    _run(act)
    return 0


def retain(settings: Settings, options: argparse.Namespace) -> int:
    """Apply the retention settings now."""
    from app.cli.operator import operator
    from app.db.connection import database_in_use
    from app.storage import make_storage
    from app.storage.retention import retain as apply_retention

    if not (settings.retention_days or settings.retention_bytes):
        raise StartupError("Nothing to delete: set RETENTION_DAYS or RETENTION_BYTES.")

    async def act() -> None:
        async with database_in_use(settings):
            removed = await apply_retention(make_storage(settings), settings, dry_run=options.dry_run, actor=operator())
        would = "would be deleted" if options.dry_run else "were deleted"
        print(f"{removed.predictions} predictions with {removed.bytes} bytes of images {would}")

    _run(act)
    return 0


def sweep(settings: Settings, options: argparse.Namespace) -> int:
    """Delete images without a prediction."""
    from app.db.connection import database_in_use
    from app.storage import make_storage
    from app.storage.ownership import is_owned
    from app.storage.sweeper import safe_age
    from app.storage.sweeper import sweep as delete_unreferenced

    async def act() -> None:
        storage = make_storage(settings)
        await storage.prepare()
        age = safe_age(settings) if options.older_than is None else timedelta(seconds=options.older_than)
        async with database_in_use(settings):
            if not await is_owned(storage):
                raise StartupError(f"{storage.location} is not marked as this database's storage: nothing was deleted.")
            print(f"{await delete_unreferenced(storage, age)} images deleted")

    _run(act)
    return 0


def _run(act: Callable[[], Coroutine[None, None, None]]) -> None:
    try:
        asyncio.run(act())
    except (DatabaseUnavailable, StorageUnavailable) as error:
        raise StartupError(error.message) from error
