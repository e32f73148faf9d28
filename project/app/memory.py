"""What the C library does with memory that was given back."""

import ctypes
import sys
from typing import Final

M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 256 * 1024


def give_back_large_blocks() -> None:
    """Have blocks of ``LARGE_BYTES`` and more go back to the system as soon as they are free (glibc, mallopt(3)).

    Left to itself, glibc raises that limit to the largest block it has seen, and images that come and go leave holes:
    with 2,000 clients that send 1 MB each these were 60 MB of 250 (``tests/resilience/test_overload.py``).
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, or do so anyway
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
