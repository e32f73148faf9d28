"""Waits for processes that tests have started."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

POLL_SECONDS = 0.02
Result = TypeVar("Result")


def wait_while_running(
    process: "subprocess.Popen[Any]", condition: Callable[[], Result], log_text: Callable[[], str], seconds: float
) -> Result:
    """The first true result of a condition. Fails with the log if the process ends before, or after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert process.poll() is None, f"it has ended: {log_text()}"
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {log_text()}"
        time.sleep(POLL_SECONDS)
    return result
