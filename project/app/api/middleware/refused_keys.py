"""Counts refused API keys, and limits their log lines, so that guessing keys does not fill the log."""

import logging
from typing import Final

from cachetools import TTLCache

from app.observability import metrics
from app.observability.log_events import KEY_REFUSED

log = logging.getLogger(__name__)

LOG_SECONDS: Final = 60.0
"""Interval of log lines about one address."""
MAX_ADDRESSES: Final = 100
"""Log lines in that interval about all addresses."""

_logged: Final[TTLCache[str, bool]] = TTLCache(MAX_ADDRESSES, LOG_SECONDS)


def note_refused_key(address: str) -> None:
    """Count a refused key; the first of an address in a while is logged."""
    metrics.KEYS_REFUSED.inc()
    if address not in _logged and len(_logged) < MAX_ADDRESSES:
        _logged[address] = True
        log.warning(KEY_REFUSED, extra={"client": address})
