"""The row that identifies the database: the turns of its sweeper, and the default model.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from datetime import timedelta
from typing import Final

from app.db.connection import execute
from app.db.crud import audit_log
from app.db.errors import recent_reason, translate_connection_errors
from app.db.transactions import transaction
from app.domain import Caller, DatabaseUnavailable

# One process per interval gets the turn.
_TAKE_SWEEP: Final = """
UPDATE installation SET swept_at = now() WHERE swept_at IS NULL OR swept_at < now() - $1::interval RETURNING id
"""


@translate_connection_errors()
async def has_tables() -> bool:
    """Whether migrations have been applied."""
    (row,) = await execute("SELECT to_regclass('installation') IS NOT NULL AS exists")
    return bool(row["exists"])


@translate_connection_errors()
async def database_id() -> str:
    """The database's ID, which stays the same when it is moved."""
    (row,) = await execute("SELECT id FROM installation")
    return str(row["id"])


@translate_connection_errors()
async def take_sweep(interval: timedelta) -> bool:
    """Whether this process may sweep now: True at most once per ``interval``, over all processes."""
    return bool(await execute(_TAKE_SWEEP, [interval]))


@translate_connection_errors()
async def postpone_sweep() -> None:
    """Begin the interval to the next sweep now: a restore stores images before their rows."""
    await execute("UPDATE installation SET swept_at = now()")


@translate_connection_errors()
async def check_writable() -> None:
    """Raise DatabaseUnavailable if nothing can be written, for example to a standby, or if a disk was full just now."""
    if reason := recent_reason():
        raise DatabaseUnavailable(reason)
    await execute("UPDATE installation SET swept_at = swept_at WHERE false")


@translate_connection_errors()
async def default_model() -> str | None:
    """Name of the default model that people chose, if they did."""
    (row,) = await execute("SELECT default_model FROM installation")
    name: str | None = row["default_model"]
    return name


@translate_connection_errors()
async def choose_default_model(name: str | None, actor: Caller) -> str | None:
    """Make a model the default, or with None the one that MODEL selects; returns the choice before."""
    async with transaction():
        (row,) = await execute("SELECT default_model FROM installation FOR UPDATE")
        await execute("UPDATE installation SET default_model = $1", [name])
        details = {"before": row["default_model"], "after": name}
        await audit_log.record("model.default_chosen", actor, details=details)
    previous: str | None = row["default_model"]
    return previous
