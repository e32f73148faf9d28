"""Bounds the memory of decoding in this process."""

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

BYTES_PER_PIXEL: Final[dict[str | None, int]] = {
    "WEBP": 17,
    "AVIF": 14,
    "HEIF": 9,
    "TIFF": 8,
    "PNG": 6,
    "BMP": 5,
    "GIF": 5,
}
"""Peak bytes per pixel while decoding and scaling, for the most expensive variant of each format (``make memory``).

JPEG has ``jpeg.decoding_bytes``."""

LARGE_BYTES: Final = 64 * 2**20
"""From here on, returning freed memory to the system takes a small part of the time that decoding took."""


def _no_trim(_pad: int) -> int:
    return 0


_malloc_trim: Final[Callable[[int], int]] = getattr(ctypes.CDLL(None), "malloc_trim", _no_trim)
"""glibc's; without it, each thread may keep up to 64 MiB of freed memory, which others cannot use."""


class DecodingBudget:
    """A number of bytes that concurrent decoding shares; a thread waits until its own are free."""

    def __init__(self) -> None:
        self._total = self._free = sys.maxsize
        self._on_wait: Callable[[], AbstractContextManager[object]] = nullcontext
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()
        self._thread = threading.local()

    def configure(self, total: int, on_wait: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        """Set the number of bytes, before any is reserved. ``on_wait``: entered by threads that have to wait."""
        self._total = self._free = total
        self._on_wait = on_wait

    @property
    def _held_by_thread(self) -> bool:
        return getattr(self._thread, "holds", False)

    @_held_by_thread.setter
    def _held_by_thread(self, value: bool) -> None:
        self._thread.holds = value

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold ``count`` bytes while inside, or all of them if there are fewer. Free the memory before leaving.

        The memory of a large image is returned to the system.
        """
        assert not self._held_by_thread, "a second reservation of a thread could wait for its first one"
        count = min(count, self._total)
        turn = object()
        with self._changed:
            # In order of arrival: small images would otherwise overtake a large one for ever.
            self._queue.append(turn)
            if count > self._free or self._queue[0] is not turn:
                with self._on_wait():
                    self._changed.wait_for(lambda: self._queue[0] is turn and count <= self._free)
            self._queue.popleft()
            self._free -= count
            self._changed.notify_all()
        self._held_by_thread = True
        try:
            yield
        finally:
            self._held_by_thread = False
            if count >= LARGE_BYTES:
                _malloc_trim(0)
            with self._changed:
                self._free += count
                self._changed.notify_all()


BUDGET: Final = DecodingBudget()
"""The budget of this process: unlimited until the engine limits its own."""
