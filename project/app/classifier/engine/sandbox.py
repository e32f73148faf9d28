"""What the engine's process gives up before it sees the first file: privileges, secrets and resources."""

import ctypes
import os
import resource
import sys
from typing import Final

PR_SET_NO_NEW_PRIVS: Final = 38
"""prctl(2): executing a program never grants privileges, such as those of set-user-ID root."""
MAX_OPEN_FILES: Final = 256

_PASSED_ON: Final = frozenset(("PATH", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "ORT_DISABLE_TELEMETRY"))
_PASSED_ON_PREFIXES: Final = ("LC_", "PYTHON", "OMP_", "OPENBLAS_", "MALLOC_", "GLIBC_")

_ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": f"{8 * 2**20}", "MALLOC_TRIM_THRESHOLD_": f"{16 * 2**20}"}
"""glibc returns the memory of large images at once; by default each thread keeps up to 32 MiB for each allocation."""


def minimal_environment() -> dict[str, str]:
    """The environment variables that Python and the native libraries need: no settings, and so no secrets."""
    passed_on = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return {**_ALLOCATOR, **passed_on}


def restrict(max_memory_bytes: int) -> None:
    """Restrict this process, where the system can. ``max_memory_bytes``: of its own memory; 0: no limit."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # A core dump would contain images.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_OPEN_FILES if most_files == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, most_files)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if max_memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))
