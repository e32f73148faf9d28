"""Fingerprints: what identifies the files that a model's answers depend on."""

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
    """What changes when a file is replaced or written to: nanoseconds, bytes and the inode."""

    path: Path
    modified: int
    changed: int
    size: int
    inode: int


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file. Raises OSError."""
    about = path.stat()
    return Stamp(path, about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino)


def stamps_of(folder: Path) -> tuple[Stamp, ...]:
    """The stamps of all files of a folder, hidden ones excepted. Raises OSError."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(parent, name)
                # Reading a named pipe or a device would never end.
                if stat.S_ISREG(path.stat().st_mode):
                    found.append(stamp_of(path))
    return tuple(found)


@lru_cache(CACHED_FILES)
def sha256_of(stamp: Stamp) -> str:
    """SHA-256 of a file in hexadecimal, read once for each stamp. Raises OSError."""
    with stamp.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(sections: Mapping[str, Any], labels: tuple[str, ...], files: Mapping[str, str]) -> str:
    """SHA-256 in hexadecimal of a manifest's sections, the labels, and the files' SHA-256 by name."""
    parts = json.dumps([sections, labels, files], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(parts.encode()).hexdigest()
