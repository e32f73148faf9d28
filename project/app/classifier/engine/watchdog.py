"""Time limit for images: ends the process if one takes too long, because decoders cannot be interrupted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.engine.frames import Header

TICKS: Final = 20
"""Checks per time limit."""


class Watchdog:
    """Reports the first image that exceeds its time limit.

    Time is counted in checks, so that a process that was stopped for a while (SIGSTOP, a paused container) is not
    charged for it.
    """

    def __init__(self, seconds: float, overdue: Callable[[Header], None]) -> None:
        """``on_timeout``: called with the request's header; ends the process."""
        self._pause = seconds / TICKS
        self._overdue = overdue
        self._samples: dict[int, tuple[Header, int]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start to watch."""
        threading.Thread(target=self._look, name="watch", daemon=True).start()

    @contextmanager
    def over(self, header: Header) -> Iterator[None]:
        """Watchdog this thread's work on a request while inside."""
        thread = threading.get_ident()
        with self._lock:
            self._samples[thread] = header, 0
        try:
            yield
        finally:
            with self._lock:
                del self._samples[thread]

    def watches(self, header: Header) -> bool:
        """Whether a thread still works on this request."""
        with self._lock:
            return any(watched is header for watched, _ in self._samples.values())

    def _look(self) -> None:
        never = threading.Event()
        while not never.wait(self._pause):
            with self._lock:
                self._samples = {thread: (header, looks + 1) for thread, (header, looks) in self._samples.items()}
                # The first check may come immediately.
                late = [header for header, looks in self._samples.values() if looks > TICKS]
            for header in late:
                self._overdue(header)
