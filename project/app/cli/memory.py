"""Settings of the C library's memory allocator."""

import ctypes
import sys
from typing import Final

M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 256 * 1024


def give_back_large_blocks() -> None:
    """Return blocks of ``LARGE_BYTES`` or more to the system as soon as they are freed (glibc, mallopt(3)).

    By default glibc raises that threshold to the largest block it has seen, and images leave holes in the heap: with
    2,000 clients sending 1 MB each these took 60 MB of 250 (``tests/resilience/test_overload.py``).
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, or do this anyway
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
