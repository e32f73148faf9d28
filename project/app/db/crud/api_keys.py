"""API keys and browser sessions. Only hashes are stored; a key is shown once, when it is created.

A key is ``ic_<public id>_<secret>`` with 256 random bits, so a plain SHA-256 is sufficient: there is nothing to guess.
The operator chooses the key of ``API_KEY``: a short one could be guessed by somebody who has its hash from a backup.
Every function raises DatabaseUnavailable while the database is unavailable.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from app.db.connection import execute
from app.db.errors import translate_connection_errors
from app.domain import Caller, KeyRefused, Scope
from app.models.tortoise import ApiKey

MAX_NAME_LENGTH: Final = 64

ENVIRONMENT_NAME: Final = "API_KEY"
ENVIRONMENT_PREFIX: Final = "env-"
MAX_ENVIRONMENT_KEY: Final = 256

_KEY: Final = re.compile(r"ic_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
# A key and its audit entry are one statement.
_CREATE: Final = """
WITH made AS (
    INSERT INTO api_keys (name, public_id, hash, scopes, created_at, expires_at)
    VALUES ($1, $2, $3, $4, now(), now() + $5::interval) RETURNING *
), noted AS (
    INSERT INTO changes (changed_at, who, action, subject_id, after)
    SELECT now(), $6, 'key.created', id, jsonb_build_object('name', name, 'scopes', scopes, 'expires_at', expires_at)
    FROM made
)
SELECT id FROM made
"""
_REVOKE: Final = """
WITH ended AS (
    UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING *
), noted AS (
    INSERT INTO changes (changed_at, who, action, subject_id, before, after)
    SELECT now(), $2, 'key.revoked', id, jsonb_build_object('name', name, 'scopes', scopes, 'expires_at', expires_at),
           jsonb_build_object('revoked_at', revoked_at)
    FROM ended
)
SELECT id FROM ended
"""
_END_ENVIRONMENT_KEYS: Final = """
UPDATE api_keys SET revoked_at = now() WHERE starts_with(public_id, 'env-') AND public_id <> $1 AND revoked_at IS NULL
"""
_SET_ENVIRONMENT_KEY: Final = """
INSERT INTO api_keys (public_id, hash, name, scopes, created_at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT (public_id) DO UPDATE SET revoked_at = NULL WHERE api_keys.revoked_at IS NOT NULL
"""
_USED: Final = """
UPDATE api_keys SET used_at = now() WHERE id = $1 AND (used_at IS NULL OR used_at < now() - interval '1 minute')
"""
_SESSION: Final = """
SELECT k.id, k.name, k.scopes FROM sessions s JOIN valid_api_keys k ON k.id = s.key_id
WHERE s.hash = $1 AND s.expires_at > now()
"""


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _caller(row: dict[str, Any]) -> Caller:
    return Caller(row["id"], row["name"], frozenset(Scope(scope) for scope in row["scopes"].split(",")))


@translate_connection_errors()
async def create(name: str, scopes: Iterable[Scope], expires_in: timedelta | None, actor: str) -> tuple[int, str]:
    """Create a key; returns its ID and the key itself, which cannot be shown again. ``actor``: who creates it."""
    public_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    scopes_text = ",".join(sorted(set(scopes)))
    rows = await execute(_CREATE, [name, public_id, _hash(secret), scopes_text, expires_in, actor])
    return rows[0]["id"], f"ic_{public_id}_{secret}"


@translate_connection_errors()
async def set_environment_key(key: str | None) -> None:
    """Make the key from the setting API_KEY valid, and no other from there; None: there is no such key."""
    public_id = _environment_id(key) if key else ""
    await execute(_END_ENVIRONMENT_KEYS, [public_id])
    if key:
        await execute(_SET_ENVIRONMENT_KEY, [public_id, _hash(key), ENVIRONMENT_NAME, f"{Scope.READ},{Scope.WRITE}"])


async def forget_environment_keys() -> None:
    """Delete the keys from the setting API_KEY, before a restore; the next start makes the current one again."""
    await execute("DELETE FROM api_keys WHERE starts_with(public_id, 'env-')")


def _environment_id(key: str) -> str:
    """Identifies a key that has no public part."""
    return ENVIRONMENT_PREFIX + _hash(key)[:12]


@translate_connection_errors()
async def list_all() -> list[ApiKey]:
    """All keys ever created, oldest first."""
    return await ApiKey.all().order_by("id")


@translate_connection_errors()
async def revoke(key_id: int, actor: str) -> bool:
    """Revoke a key and its sessions; returns whether a valid key existed."""
    return bool(await execute(_REVOKE, [key_id, actor]))


@translate_connection_errors()
async def names_of_valid() -> list[str]:
    """Names and IDs of all valid keys, for people."""
    rows = await execute("SELECT id, name FROM valid_api_keys ORDER BY id")
    return [f"{row['name']} (key {row['id']})" for row in rows]


@translate_connection_errors()
async def revoke_all() -> None:
    """Revoke all keys and their sessions, without audit entries."""
    await execute("UPDATE api_keys SET revoked_at = now() WHERE revoked_at IS NULL")


@translate_connection_errors()
async def any_valid() -> bool:
    """Whether a valid key exists."""
    (row,) = await execute("SELECT EXISTS (SELECT FROM valid_api_keys) AS exists")
    return bool(row["exists"])


@translate_connection_errors()
async def authenticate_key(key: str) -> Caller:
    """The owner of a key. Raises KeyRefused if it is unknown, expired or revoked."""
    if parts := _KEY.fullmatch(key):
        public_id, secret = parts.groups()
    elif 0 < len(key) <= MAX_ENVIRONMENT_KEY:
        # Of the setting API_KEY, which has another format.
        public_id, secret = _environment_id(key), key
    else:
        raise KeyRefused
    rows = await execute("SELECT id, name, scopes, hash FROM valid_api_keys WHERE public_id = $1", [public_id])
    # Compares in constant time, so that timing reveals nothing about the hash.
    if not rows or not hmac.compare_digest(rows[0]["hash"], _hash(secret)):
        raise KeyRefused
    await execute(_USED, [rows[0]["id"]])
    return _caller(rows[0])


@translate_connection_errors()
async def begin_session(key_id: int, lifetime: timedelta) -> str:
    """Start a session and return its token; also deletes expired sessions."""
    token = secrets.token_urlsafe(32)
    await execute("DELETE FROM sessions WHERE expires_at < now()")
    await execute(
        "INSERT INTO sessions (hash, key_id, created_at, expires_at) VALUES ($1, $2, now(), now() + $3::interval)",
        [_hash(token), key_id, lifetime],
    )
    return token


@translate_connection_errors()
async def end_session(token: str) -> None:
    """Delete a session."""
    await execute("DELETE FROM sessions WHERE hash = $1", [_hash(token)])


@translate_connection_errors()
async def authenticate_session(token: str) -> Caller:
    """The owner of a session. Raises KeyRefused if it has ended."""
    rows = await execute(_SESSION, [_hash(token)])
    if not rows:
        raise KeyRefused
    return _caller(rows[0])
