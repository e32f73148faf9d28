"""How many bytes the images of a key may take."""

import time
from typing import Final

from cachetools import TTLCache

from app.db import execute, unavailable_when_away
from app.domain import QuotaExceeded

KNOWN_SECONDS: Final = 10.0
MOST_KNOWN: Final = 10_000


class Quotas:
    """Adds up what is stored, now and then, and what this process has let in since."""

    def __init__(self, most: int) -> None:
        """``most``: bytes of one key, and of all that came without one; 0: any number."""
        self._most = most
        self._known: TTLCache[int | None, int] = TTLCache(MOST_KNOWN, KNOWN_SECONDS, time.monotonic)

    async def take(self, key_id: int | None, count: int) -> None:
        """Let so many bytes more in. Raises QuotaExceeded, or DatabaseUnavailable."""
        if not self._most:
            return
        stored = self._known.get(key_id)
        if stored is None:
            stored = await _stored(key_id)
        if stored + count > self._most:
            raise QuotaExceeded(f"The images of this key may take {self._most} bytes, and take {stored}: delete some.")
        self._known[key_id] = stored + count


@unavailable_when_away()
async def _stored(key_id: int | None) -> int:
    (row,) = await execute(
        "SELECT coalesce(sum(size_bytes), 0)::bigint AS bytes FROM predictions WHERE key_id IS NOT DISTINCT FROM $1",
        [key_id],
    )
    return int(row["bytes"])
