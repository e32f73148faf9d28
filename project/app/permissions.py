"""Permissions: who may read the service's files."""

import grp
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.config import Settings
from app.domain import StartupError
from app.observability.log_events import FOLDER_IS_OPEN

log = logging.getLogger(__name__)

_OWN: Final = stat.S_IRWXU
_GROUP: Final = stat.S_IRGRP | stat.S_IXGRP | stat.S_ISGID
"""New files and folders belong to the folder's group."""
_PASS: Final = stat.S_IXGRP | stat.S_IXOTH


def keep_files_private(settings: Settings) -> None:
    """Let nobody else read what this process and its children write, except for FILE_GROUP.

    Raises StartupError if that group does not exist.
    """
    group = _group_id(settings.file_group) if settings.file_group else None
    os.umask(0o077 if group is None else 0o027)
    # The accounts of PostgreSQL and of the processes that read images pass through the folder to their own.
    mode = _OWN | (_PASS if os.geteuid() == 0 else 0)
    if settings.database_url is None:
        with suppress(OSError):
            private_folder(settings.data_dir)
    for folder, own_mode in ((settings.data_dir, mode), (settings.uploads, _OWN), (settings.renditions, _OWN)):
        if group is not None:
            # Created here, so that its first file already gets the group. Errors are reported when the folder is used.
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            continue
        has_changed = _set_mode(folder, own_mode | (_GROUP if group is not None else 0), group)
        if has_changed and group is not None and folder != settings.data_dir:
            _give_folders(folder, group)
    _close_files(settings.data_dir)


def _close_files(folder: Path) -> None:
    """Close the files of earlier versions in a folder that other accounts may pass through."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_file() and not path.is_symlink() and path.stat().st_mode & stat.S_IRWXO:
                path.chmod(path.stat().st_mode & ~(stat.S_IRWXO | stat.S_IRWXG))


def private_folder(folder: Path) -> None:
    """Create a folder that nobody else may read. Raises OSError."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        folder.chmod(folder.stat().st_mode | _PASS)


def _set_mode(folder: Path, mode: int, group: int | None) -> bool:
    """Set mode and group of a folder; returns whether they were different."""
    try:
        found = folder.stat()
        if stat.S_IMODE(found.st_mode) != mode or (group is not None and found.st_gid != group):
            # Closed first: the group may be another one so far.
            folder.chmod(mode & ~_GROUP)
            if group is not None:
                _give(folder, group)
            folder.chmod(mode)
            return True
    except OSError as error:
        # A mounted folder of another account, say, whose permissions are that account's business.
        log.warning(FOLDER_IS_OPEN, folder, error.strerror)
    return False


def share_with_group(file: Path, settings: Settings) -> None:
    """Give a file that is outside of the service's folders to FILE_GROUP. Raises StartupError."""
    if settings.file_group:
        _give(file, _group_id(settings.file_group))


def _give_folders(folder: Path, group: int) -> None:
    """Give all folders below a folder of images to the group, so that new images belong to it."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            _give(path, group)
            path.chmod(_OWN | _GROUP)


def _give(path: Path, group: int) -> None:
    try:
        os.chown(path, -1, group)
    except PermissionError:
        raise StartupError(f"FILE_GROUP: this account is not a member of the group {group}.") from None


def _group_id(name: str) -> int:
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise StartupError(f"FILE_GROUP: the group {name} does not exist.") from None
