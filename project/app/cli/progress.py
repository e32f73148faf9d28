"""Reports the progress of long commands on standard error."""

import sys
import time
from typing import Final

INTERVAL_SECONDS: Final = 5.0


class Progress:
    """Prints a line every few seconds, such as "images: 120000 of 1000000 (12 %)"; nothing for short work."""

    def __init__(self, interval: float = INTERVAL_SECONDS) -> None:
        self._interval = interval
        self._printed_at = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` are done."""
        if time.monotonic() >= self._printed_at + self._interval:
            self._printed_at = time.monotonic()
            print(f"{what}: {done} of {total} ({100 * done // max(total, 1)} %)", file=sys.stderr, flush=True)
