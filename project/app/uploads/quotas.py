"""Storage quotas of API keys."""

import time
from typing import Final

from cachetools import TTLCache

from app.db import execute, translate_connection_errors
from app.domain import QuotaExceeded

KNOWN_SECONDS: Final = 10.0
MAX_CACHED_KEYS: Final = 10_000


class Quotas:
    """Compares stored bytes, read from the database now and then, plus what this process accepted since."""

    def __init__(self, most: int) -> None:
        """``limit``: bytes per key, and for all anonymous uploads together; 0: unlimited."""
        self._most = most
        self._known: TTLCache[int | None, int] = TTLCache(MAX_CACHED_KEYS, KNOWN_SECONDS, time.monotonic)

    async def take(self, key_id: int | None, count: int) -> None:
        """Add ``count`` bytes to a key's usage. Raises QuotaExceeded, or DatabaseUnavailable."""
        if not self._most:
            return
        stored = self._known.get(key_id)
        if stored is None:
            stored = await _stored(key_id)
        if stored + count > self._most:
            raise QuotaExceeded(f"This API key has used {stored} of {self._most} bytes: delete some predictions.")
        self._known[key_id] = stored + count


@translate_connection_errors()
async def _stored(key_id: int | None) -> int:
    (row,) = await execute(
        "SELECT coalesce(sum(size_bytes), 0)::bigint AS bytes FROM predictions WHERE key_id IS NOT DISTINCT FROM $1",
        [key_id],
    )
    return int(row["bytes"])
