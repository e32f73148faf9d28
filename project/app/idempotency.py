"""Uploads that are sent again: ``Idempotency-Key``, kept for a day (draft-ietf-httpapi-idempotency-key-header).

Every function raises DatabaseUnavailable while the database is away.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.db import execute, unavailable_when_away
from app.domain import HeldKey, IdempotencyKeyInFlight, IdempotencyKeyReused

KEPT_FOR: Final = timedelta(days=1)
LONGEST_KEY: Final = 255

# A key is free again after a day, or where its upload's process died before there was a row.
_CLAIM: Final = """
INSERT INTO idempotency_keys AS kept (key, fingerprint, claimed_at) VALUES ($1, $2, now())
ON CONFLICT (key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, claimed_at = now(), prediction_id = NULL, answer = NULL
WHERE kept.claimed_at < now() - CASE WHEN kept.prediction_id IS NULL THEN $3::interval ELSE $4::interval END
RETURNING claimed_at
"""


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of an upload the first time; ``answer``: as it was sent, where the process lived to note it."""

    prediction_id: int
    answer: str | None


def fingerprint(sha256: str, model: str, webhook_url: str) -> str:
    """What has to be the same for an upload to be the same: the bytes, and what was asked for."""
    return hashlib.sha256(f"{sha256} {model} {webhook_url}".encode()).hexdigest()


@unavailable_when_away()
async def claim(key: str, fingerprint: str, in_flight: timedelta) -> Replay | HeldKey:
    """Begin an upload, or learn what became of it; ``in_flight``: how long one may take.

    Raises IdempotencyKeyReused where the key was another upload's, IdempotencyKeyInFlight where it is not done yet.
    """
    while not (claimed := await execute(_CLAIM, [key, fingerprint, in_flight, KEPT_FOR])):
        rows = await execute("SELECT fingerprint, prediction_id, answer FROM idempotency_keys WHERE key = $1", [key])
        if not rows:
            continue  # It was released in between.
        if rows[0]["fingerprint"] != fingerprint:
            raise IdempotencyKeyReused
        if rows[0]["prediction_id"] is None:
            raise IdempotencyKeyInFlight
        return Replay(rows[0]["prediction_id"], rows[0]["answer"])
    return HeldKey(key, claimed[0]["claimed_at"])


@unavailable_when_away()
async def keep_answer(held: HeldKey, answer: str) -> None:
    """Note the first answer, to be given again. (That there is a prediction is noted with its row, see ``crud``.)"""
    await execute(
        "UPDATE idempotency_keys SET answer = $3 WHERE key = $1 AND claimed_at = $2",
        [held.key, held.claimed_at, answer],
    )


@unavailable_when_away()
async def release(held: HeldKey) -> None:
    """Forget an upload that was refused or went wrong before it had a row: it may be tried again."""
    await execute(
        "DELETE FROM idempotency_keys WHERE key = $1 AND claimed_at = $2 AND prediction_id IS NULL",
        [held.key, held.claimed_at],
    )


@unavailable_when_away()
async def forget_old() -> None:
    """Remove keys that were kept for long enough."""
    await execute("DELETE FROM idempotency_keys WHERE claimed_at < now() - $1::interval", [KEPT_FOR])
