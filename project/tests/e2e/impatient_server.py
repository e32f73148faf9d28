"""A service with time limits of one second for slow clients: ``python -m tests.e2e.impatient_server``."""

import sys

from app.api import connection
from app.api.middleware import body_limit
from app.cli.main import main

if __name__ == "__main__":
    connection.HEAD_SECONDS = connection.READ_TIMEOUT_SECONDS = 1.0  # type: ignore[misc]
    body_limit.BODY_SECONDS = 1.0  # type: ignore[misc]
    sys.exit(main(["serve"]))
