"""Who runs a command, for the audit log."""

import getpass

from app.db.crud.api_keys import MAX_NAME_LENGTH
from app.domain import Caller


def operator() -> Caller:
    """The user at the command line, as far as the system knows."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return Caller(None, f"{name} (command line)"[:MAX_NAME_LENGTH], frozenset())
