"""Processes of the service whose code is imported already: a new interpreter takes a second of CPU time for that.

They are forked from a process that has imported the application and runs nothing; otherwise they are like
``python -m MODULE``. Tests of the commands themselves start interpreters.
"""

import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from app import PROJECT_DIR

MODULES = (
    *("app.cli.main", "app.cli.serve", "app.main", "app.worker.dispatch_local", "app.worker.dispatch_queued"),
    *("app.db.migrations", "app.storage.folder", "aiofiles", "tortoise.backends.asyncpg.client"),
    *("uvicorn.loops.uvloop", "uvicorn.protocols.http.httptools_impl"),
)
"""What a service imports until it serves."""

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


class ForkedProcess:
    """A process with the interface of ``subprocess.Popen``."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
        """``arguments``: a module and its arguments. The output is appended to files."""
        self.args = arguments
        call = (list(arguments), dict(environment), str(Path.cwd()), str(stdout), str(stderr))
        self._process = _fork_server().Process(target=_run_module, args=call, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit status, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit status. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)


def run_forked(
    arguments: Sequence[str], environment: Mapping[str, str], seconds: float
) -> "subprocess.CompletedProcess[str]":
    """Run a module until it ends. Raises subprocess.TimeoutExpired after ``seconds``."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        process = ForkedProcess(arguments, environment, stdout, stderr)
        try:
            status = process.wait(seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(list(arguments), status, stdout.read_text(), stderr.read_text())


@cache
def _fork_server() -> ForkServerContext:
    """The context whose processes are forked from the one that has imported the modules."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES))
    with pytest.MonkeyPatch.context() as patch:
        # Before Python 3.12, it does not get the path of this process.
        patch.setenv("PYTHONPATH", str(PROJECT_DIR))
        forkserver.ensure_running()
    return context


def _run_module(
    arguments: Sequence[str], environment: Mapping[str, str], folder: str, stdout: str, stderr: str
) -> None:
    # The fork server ignores modules that it cannot import.
    assert set(MODULES) <= set(sys.modules), set(MODULES) - set(sys.modules)
    if sys.platform == "linux":
        # Ends with the fork server, which ends with the tests, also if they are killed.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    # Appended, or one would overwrite the other where both are the same file.
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, descriptor)
        os.close(output)
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
