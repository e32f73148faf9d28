"""What a process that reads images gives up before it sees the first one: privileges, secrets, files and resources."""

import ctypes
import logging
import os
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Final

from app import PROJECT_DIR
from app.accounts import Account, as_account
from app.observability.log_events import ENGINE_IS_ROOT

log = logging.getLogger(__name__)

PR_SET_NO_NEW_PRIVS: Final = 38
"""prctl(2)"""
MAX_OPEN_FILES: Final = 256

_PASSED_ON: Final = frozenset(("PATH", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "ORT_DISABLE_TELEMETRY"))
_PASSED_ON_PREFIXES: Final = ("LC_", "PYTHON", "OMP_", "OPENBLAS_", "MALLOC_", "GLIBC_")

_READ_BY_LIBRARIES: Final = (
    *("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/random"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices", "/sys/bus/pci", "/sys/fs/cgroup"),
)
_ACCOUNT: Final = Account(61_840, 61_840)
"""Numbers that no account has: nothing else on the machine belongs to it."""
_ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": f"{8 * 2**20}", "MALLOC_TRIM_THRESHOLD_": f"{16 * 2**20}"}
"""Makes glibc return the memory of large images at once; by default, each thread keeps up to 32 MiB."""

_ONE_THREAD: Final = {"RAYON_NUM_THREADS": "1"}
"""Images are scaled in the thread that classifies them, of which there is one for each core."""


def minimal_environment() -> dict[str, str]:
    """The environment variables that Python and the native libraries need: no settings, and so no secrets."""
    passed_on = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return {**_ALLOCATOR, **_ONE_THREAD, **passed_on}


@cache
def unprivileged(models: Path) -> list[str]:
    """The beginning of a command that does not run as root; empty if this process does not either.

    ``models``: folder of the models, which the command reads.
    """
    if os.geteuid() != 0:
        return []
    # Models may be closed to others, also those that are added later. Landlock limits what may be read.
    prefix = as_account(_ACCOUNT, [] if _has_landlock() else [Path(sys.executable), models], "dac_read_search")
    if prefix is None:
        log.warning(ENGINE_IS_ROOT)
        return []
    return [*prefix, "--"]


def restrict(models: Path, max_memory_bytes: int) -> None:
    """Restrict this process, where the system can. To be called before it has threads.

    ``models``: the folder that it may read besides programs and libraries. ``max_memory_bytes``: of its own memory; 0:
    no limit.
    """
    _restrict_files(models)
    # A core dump would contain images.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_OPEN_FILES if most_files == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, most_files)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if max_memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))


def _has_landlock() -> bool:
    if sys.platform != "linux":
        return False
    import landlockpy

    return landlockpy.supported()


def _restrict_files(models: Path) -> None:
    """Grant read access to programs, libraries and models only, no write access, and no TCP (Linux 5.13, 6.7)."""
    if sys.platform != "linux":
        return
    import landlockpy

    if not _has_landlock():
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return
    read_file = landlockpy.AccessFS.READ_FILE
    scope = landlockpy.Scope.SIGNAL | landlockpy.Scope.ABSTRACT_UNIX_SOCKET
    with landlockpy.Ruleset(scoped=scope) as ruleset:
        searched = [*sys.path, *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
        libraries = [Path(name) for name in (*_READ_BY_LIBRARIES, sys.prefix, sys.base_prefix, *searched) if name]
        # A model's folder may be a link to another place.
        linked = [path for path in models.iterdir() if path.is_symlink()] if models.is_dir() else []
        for path in (*libraries, PROJECT_DIR, models, *linked):
            if path.exists():
                ruleset.allow_path(path, read_file | landlockpy.AccessFS.READ_DIR if path.is_dir() else read_file)
        ruleset.allow_path(os.devnull, read_file | landlockpy.AccessFS.WRITE_FILE)
        # Also sets no_new_privs: executing a program never grants privileges, such as those of set-user-ID root.
        ruleset.restrict()
