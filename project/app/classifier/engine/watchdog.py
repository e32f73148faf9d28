"""Time limit for images: ends the process if one takes too long, because decoders cannot be interrupted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.classifier.engine.frames import Header

TICKS: Final = 20
"""Checks per time limit."""


class Watchdog:
    """Reports the first image that exceeds its time limit.

    Time is counted in checks, so that a process that was stopped for a while (SIGSTOP, a paused container) is not
    charged for it.
    """

    def __init__(self, seconds: float, on_timeout: Callable[[Header], None]) -> None:
        """``on_timeout``: called with the request's header; ends the process."""
        self._pause = seconds / TICKS
        self._on_timeout = on_timeout
        self._checks: dict[int, tuple[Header, int]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start to watch."""
        threading.Thread(target=self._check_forever, name="watch", daemon=True).start()

    @contextmanager
    def watching(self, header: Header) -> Iterator[None]:
        """Watch this thread's work on a request while inside."""
        thread = threading.get_ident()
        with self._lock:
            self._checks[thread] = header, 0
        try:
            yield
        finally:
            with self._lock:
                del self._checks[thread]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count this thread's time while inside."""
        thread = threading.get_ident()
        with self._lock:
            watched = self._checks.pop(thread, None)
        try:
            yield
        finally:
            if watched:
                with self._lock:
                    self._checks[thread] = watched

    def is_watching(self, header: Header) -> bool:
        """Whether a thread still works on this request."""
        with self._lock:
            return any(watched is header for watched, _ in self._checks.values())

    def _check_forever(self) -> None:
        never = threading.Event()
        while not never.wait(self._pause):
            with self._lock:
                self._checks = {thread: (header, checks + 1) for thread, (header, checks) in self._checks.items()}
                # The first check may come immediately.
                overdue = [header for header, checks in self._checks.values() if checks > TICKS]
            for header in overdue:
                self._on_timeout(header)
