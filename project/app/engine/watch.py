"""How long each thread has been at its image, and an end to what takes too long: decoders cannot be interrupted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.engine.frames import Header

TICKS: Final = 20
"""How often it is looked within the time that one image may take."""


class Watch:
    """Tells of the first image that takes too long.

    Time is counted in looks, so that a process that was stopped for a while (SIGSTOP, a paused container) has not been
    at its images meanwhile.
    """

    def __init__(self, seconds: float, overdue: Callable[[Header], None]) -> None:
        """``overdue``: called with what was asked for; ends the process."""
        self._pause = seconds / TICKS
        self._overdue = overdue
        self._looks: dict[int, tuple[Header, int]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._look, name="watch", daemon=True).start()

    @contextmanager
    def over(self, header: Header) -> Iterator[None]:
        """This thread is at what ``header`` asks for while inside."""
        thread = threading.get_ident()
        with self._lock:
            self._looks[thread] = header, 0
        try:
            yield
        finally:
            with self._lock:
                del self._looks[thread]

    def watches(self, header: Header) -> bool:
        """Whether a thread is still at this."""
        with self._lock:
            return any(watched is header for watched, _ in self._looks.values())

    def _look(self) -> None:
        never = threading.Event()
        while not never.wait(self._pause):
            with self._lock:
                self._looks = {thread: (header, looks + 1) for thread, (header, looks) in self._looks.items()}
                # The first look may come at once.
                late = [header for header, looks in self._looks.values() if looks > TICKS]
            for header in late:
                self._overdue(header)
