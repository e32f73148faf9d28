"""How a process leaves the processor to others."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

LOWEST: Final = 19
_OWN_SESSION: Final = Path("/proc/self/autogroup")


def lower(niceness: int) -> None:
    """Lower this process's priority, and that of its session.

    Many desktops and servers share the processor between sessions first (sched_autogroup_enabled, sched(7)), so that
    the niceness of a process that leads a session counts for nothing outside it.
    """
    os.nice(niceness)
    if sys.platform == "linux":
        # Absent without that setting.
        with suppress(OSError):
            _OWN_SESSION.write_text(str(niceness))


def run_only_when_idle() -> None:
    """Let this process run only while nothing else wants the processor."""
    lower(LOWEST)
    if sys.platform == "linux":
        # With a low priority alone, uploads took twice as long at times. Some containers forbid it.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
