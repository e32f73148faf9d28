"""Runs the service as a separate process."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from app import PROJECT_DIR
from app.config import Settings
from tests.forking import run_forked
from tests.processes import start_python, wait_while_running

STARTED = re.compile(r"Serving on (http://\S+)")
START_SECONDS = 60


class Server:
    """One run of ``./classifier serve``; its log goes to a file."""

    def __init__(
        self,
        settings: Settings,
        log: Path,
        *,
        before: Sequence[str] = (),
        module: Sequence[str] = ("app", "serve"),
        **environment: str,
    ) -> None:
        """``before``: a prefix of the command, such as a tracer. ``module``: what Python runs, with its arguments."""
        self.log = log
        self.module = module
        self._before = before
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT_DIR),
            "DATA_DIR": str(settings.data_dir),
            "MODELS_DIR": str(settings.models),
            "MODEL": settings.model,
            "PORT": "0",
            "REUSE_ANSWERS": "0",
            **environment,
        }

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another command of the service and wait for it."""
        return run_forked(["app", *arguments], self.environment, START_SECONDS)

    def start(self) -> "Server":
        """Start it and wait until it serves."""
        self.process = start_python(self.module, self.environment, self.log, before=self._before)
        self.wait_until(lambda: STARTED.search(self.log_text()) is not None)
        found = STARTED.search(self.log_text())
        assert found
        self.url = found[1]
        return self

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the server runs."""
        wait_while_running(self.process, condition, self.log_text, START_SECONDS)

    def log_text(self) -> str:
        return self.log.read_text()

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(START_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(START_SECONDS)
