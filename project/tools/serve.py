"""Runs ``./classifier serve`` for ``make run``: ends make quietly after an error.

make would add "make: *** Error 1", which buries the service's message. The service runs in this process, so that
signals reach it.
"""

import os
import signal
import sys


def run() -> int:
    """The exit status of the service."""
    try:
        # Imported here, because Ctrl-C may also arrive during the imports.
        from app.cli.main import main

        return main(["serve"])
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
