"""Storage quotas of API keys."""

import time
from typing import Final

from cachetools import TTLCache

from app.db.crud import predictions
from app.domain import QuotaExceeded

CACHE_SECONDS: Final = 10.0
MAX_CACHED_KEYS: Final = 10_000


class Quotas:
    """Compares stored bytes, read from the database now and then, plus what this process accepted since."""

    def __init__(self, limit: int) -> None:
        """``limit``: bytes per key, and for all anonymous uploads together; 0: unlimited."""
        self._limit = limit
        self._stored: TTLCache[int | None, int] = TTLCache(MAX_CACHED_KEYS, CACHE_SECONDS, time.monotonic)

    async def use(self, key_id: int | None, count: int) -> None:
        """Add ``count`` bytes to a key's usage. Raises QuotaExceeded, or DatabaseUnavailable."""
        if not self._limit:
            return
        stored = self._stored.get(key_id)
        if stored is None:
            stored = await predictions.stored_bytes_of_key(key_id)
        if stored + count > self._limit:
            owner = "Anonymous uploads have" if key_id is None else "This API key has"
            raise QuotaExceeded(f"{owner} used {stored} of {self._limit} bytes: delete some predictions.")
        self._stored[key_id] = stored + count
