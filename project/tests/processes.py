"""Processes that tests start, wait for and suspend."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.forking import ForkedProcess

POLL_SECONDS = 0.02
SUSPEND_SECONDS = 10.0
Result = TypeVar("Result")
AnyProcess = subprocess.Popen[Any] | ForkedProcess


def start_python(
    module: Sequence[str], environment: Mapping[str, str], log: Path, *, before: Sequence[str] = ()
) -> AnyProcess:
    """Run a module in a process whose output goes to a file. ``before``: a prefix of the command."""
    log.write_bytes(b"")
    if not before:
        return ForkedProcess(module, environment, log, log)
    with log.open("w") as output:
        command = [*before, sys.executable, "-m", *module]
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def wait_while_running(
    process: AnyProcess, condition: Callable[[], Result], log_text: Callable[[], str], seconds: float
) -> Result:
    """The first true result of a condition. Fails with the log if the process ends before, or after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert process.poll() is None, f"it has ended: {log_text()}"
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {log_text()}"
        time.sleep(POLL_SECONDS)
    return result


def engine_of(pid: int) -> psutil.Process:
    """The engine of a service: the first Python process that it has started. IDs may have begun again from 1 since."""
    children = [child for child in psutil.Process(pid).children() if "python" in child.name()]
    return min(children, key=lambda child: float(child.create_time()))


def suspend(pid: int) -> None:
    """Stop a process; returns once all its threads stand still, which on a busy machine is later than the signal."""
    process = psutil.Process(pid)
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + SUSPEND_SECONDS
    while not all(_is_stopped(thread) for thread in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"process {pid} still runs {SUSPEND_SECONDS:g} s after SIGSTOP"
        time.sleep(POLL_SECONDS)


def _is_stopped(thread: Path) -> bool:
    try:
        # The state follows the name, which is in parentheses and may contain any character.
        return (thread / "stat").read_text().rpartition(") ")[2].startswith("T")
    except (FileNotFoundError, ProcessLookupError):
        return True
