"""Idempotency keys, stored for a day (draft-ietf-httpapi-idempotency-key-header).

Every function raises DatabaseUnavailable while the database is unavailable.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.db.advisory_locks import is_held
from app.db.connection import execute
from app.db.errors import translate_connection_errors
from app.domain import IdempotencyClaim, IdempotencyKeyInFlight, IdempotencyKeyReused

LIFETIME: Final = timedelta(days=1)
MAX_KEY_LENGTH: Final = 255

# A key becomes free after a day, or if its upload's process died before the row existed: PostgreSQL releases a dead
# process's lock at once. The time limit is for processes that hang, or that run on a host that is cut off.
_CLAIM: Final = f"""
INSERT INTO idempotency_keys AS kept (key, fingerprint, claimed_at, owner) VALUES ($1, $2, now(), $5)
ON CONFLICT (key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, claimed_at = now(), owner = EXCLUDED.owner, prediction_id = NULL, answer = NULL
WHERE kept.claimed_at < now() - CASE WHEN kept.prediction_id IS NULL THEN $3::interval ELSE $4::interval END
    OR kept.prediction_id IS NULL AND kept.owner <> $5 AND NOT {is_held("kept.owner")}
RETURNING claimed_at
"""  # noqa: S608 - a fragment of ours # nosec B608


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcome of the first upload with this key; ``response`` is its body if it was stored."""

    prediction_id: int
    response: str | None


def fingerprint(sha256: str, model: str, webhook_url: str) -> str:
    """Identifies an upload: its bytes and options must be the same for a repeated key."""
    return hashlib.sha256(f"{sha256} {model} {webhook_url}".encode()).hexdigest()


def _stored(key: str, key_id: int | None) -> str:
    """The key as it is stored: each API key has its own. No client can send a line break."""
    return key if key_id is None else f"{key_id}\n{hashlib.sha256(key.encode()).hexdigest()}"


@translate_connection_errors()
async def claim(
    key: str, key_id: int | None, fingerprint: str, max_duration: timedelta, owner: int
) -> Replay | IdempotencyClaim:
    """Start an upload, or return its earlier outcome.

    ``key_id``: of the API key to which the idempotency key belongs. ``max_duration``: of an upload. ``owner``: the
    advisory lock that this process has as long as it lives.

    Raises IdempotencyKeyReused if the key belongs to another upload, IdempotencyKeyInFlight if that upload is in
    progress.
    """
    key = _stored(key, key_id)
    while not (claimed := await execute(_CLAIM, [key, fingerprint, max_duration, LIFETIME, owner])):
        rows = await execute("SELECT fingerprint, prediction_id, answer FROM idempotency_keys WHERE key = $1", [key])
        if not rows:
            continue  # released in the meantime
        if rows[0]["fingerprint"] != fingerprint:
            raise IdempotencyKeyReused
        if rows[0]["prediction_id"] is None:
            raise IdempotencyKeyInFlight
        return Replay(rows[0]["prediction_id"], rows[0]["answer"])
    return IdempotencyClaim(key, claimed[0]["claimed_at"])


@translate_connection_errors()
async def save_response(claim: IdempotencyClaim, response: str) -> None:
    """Store the first response for replays. (The prediction's ID is stored with its row, see ``new_predictions``.)"""
    await execute(
        "UPDATE idempotency_keys SET answer = $3 WHERE key = $1 AND claimed_at = $2",
        [claim.key, claim.claimed_at, response],
    )


@translate_connection_errors()
async def release(claim: IdempotencyClaim) -> None:
    """Free the key of an upload that failed before it had a row, so that it can be retried."""
    await execute(
        "DELETE FROM idempotency_keys WHERE key = $1 AND claimed_at = $2 AND prediction_id IS NULL",
        [claim.key, claim.claimed_at],
    )


@translate_connection_errors()
async def release_unknown(key: str, key_id: int | None, owner: int) -> None:
    """Free a key that this process may have claimed, for an upload that is not in progress any more."""
    await execute(
        "DELETE FROM idempotency_keys WHERE key = $1 AND owner = $2 AND prediction_id IS NULL",
        [_stored(key, key_id), owner],
    )


@translate_connection_errors()
async def delete_expired() -> None:
    """Delete expired keys."""
    await execute("DELETE FROM idempotency_keys WHERE claimed_at < now() - $1::interval", [LIFETIME])
