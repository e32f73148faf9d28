"""Runs ``./classifier serve`` for ``make run``: exports the model first if it is missing, and ends make quietly.

After an error, make would add "make: *** Error 1", which buries the service's message. All commands but the export run
in this process: starting another one takes as long as starting the service.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys


def run() -> int:
    """The exit status of the service."""
    try:
        # Imported here, because Ctrl-C may also arrive during the imports.
        from app.cli.main import main
        from app.cli.models import NO_MODEL
        from app.config import Settings

        with contextlib.redirect_stdout(io.StringIO()):
            status = main(["has-model"])
        if status == NO_MODEL:
            status = subprocess.run([sys.executable, "-m", "app", "export-model"]).returncode
        # The service migrates an embedded database itself.
        if status == 0 and Settings().database_url:
            status = main(["migrate"])
        return status or main(["serve"])
    except SystemExit as error:
        # uvicorn's, if the application cannot start.
        return error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    status = run()
    if status:
        os.kill(os.getppid(), signal.SIGPIPE)
    sys.exit(status)
