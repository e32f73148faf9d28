"""Fingerprints of model files."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

CACHED_FILES: Final = 1024


class Stamp(NamedTuple):
    """A file's identity without its content: times in nanoseconds, size in bytes, inode."""

    path: Path
    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file. Raises OSError."""
    status = path.stat()
    return Stamp(path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def stamps_of(folder: Path) -> tuple[Stamp, ...]:
    """The stamps of all files of a folder, except for hidden ones and links to nothing."""
    stamps = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in sorted(files) if not name.startswith(".")):
            try:
                # Reading a named pipe or a device would never end.
                if stat.S_ISREG(path.stat().st_mode):
                    stamps.append(stamp_of(path))
            except OSError:
                # Removed just now: the listing differs the next time.
                continue
    return tuple(stamps)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(CACHED_FILES)
def cached_sha256(stamp: Stamp) -> str:
    """SHA-256 of a file, in hexadecimal, read once for each stamp. Raises OSError."""
    return sha256_of(stamp.path)


def fingerprint(sections: Mapping[str, Any], labels: tuple[str, ...], files: Mapping[str, str]) -> str:
    """SHA-256 in hexadecimal of a manifest's sections, the labels, and the files' SHA-256 by name."""
    parts = json.dumps([sections, labels, files], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(parts.encode()).hexdigest()
