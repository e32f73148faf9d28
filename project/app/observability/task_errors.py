"""Errors of background work, which are logged instead of raised. Used where asyncio is not imported, too."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.domain import DatabaseUnavailable, StorageUnavailable
from app.observability.log_events import TASK_DELAYED, TASK_ERROR

log = logging.getLogger(__name__)


@contextmanager
def log_errors(task: str) -> Iterator[None]:
    """Log errors instead of raising them, for loops that must go on; ``task`` names the block in the log."""
    try:
        yield
    except (DatabaseUnavailable, StorageUnavailable) as error:
        log.warning(TASK_DELAYED, task, error.message)
    except Exception:
        log.exception(TASK_ERROR, task)
