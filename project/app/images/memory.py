"""Bounds the memory of decoding in this process."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

BYTES_PER_PIXEL: Final[dict[str | None, int]] = {
    "WEBP": 16,
    "AVIF": 14,
    "HEIF": 9,
    "TIFF": 8,
    "PNG": 6,
    "BMP": 5,
    "GIF": 5,
}
"""Peak of decoding and scaling for each pixel, of the kind of file that takes most (``make memory``). JPEG has
``jpeg.decoding_bytes``."""


class DecodingBudget:
    """A number of bytes that concurrent decoding shares; a thread waits until its own are free."""

    def __init__(self) -> None:
        self._total = self._free = sys.maxsize
        self._waiting: Callable[[], AbstractContextManager[object]] = nullcontext
        self._changed = threading.Condition()

    def limit(self, total: int, waiting: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        """Set the number of bytes, before any is reserved. ``waiting``: entered by threads that have to wait."""
        self._total = self._free = total
        self._waiting = waiting

    @contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Hold ``count`` bytes while inside, or all of them if there are fewer. Free the memory before leaving."""
        count = min(count, self._total)
        with self._changed:
            if count > self._free:
                with self._waiting():
                    self._changed.wait_for(lambda: count <= self._free)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


BUDGET: Final = DecodingBudget()
"""The budget of this process: unlimited until the engine limits its own."""
