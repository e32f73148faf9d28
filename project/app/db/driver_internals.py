"""Private API of Tortoise and asyncpg, and the wording of their errors. Nothing else relies on either.

``tests/integration/test_driver_internals.py`` fails where a new version changes one of them.
"""

from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TypeVar

import asyncpg
from tortoise.models import Model

from app.domain import TablesMissing

ENDED_WHILE_IDLE: Final = "another operation (2) is in progress"
"""asyncpg is processing an error (its state 2) that no statement of ours has caused."""
CLOSED: Final = ("closed", "released back to the pool")
"""asyncpg noticed that a connection had ended before a statement was to use it."""

Row = TypeVar("Row", bound=Model)


def from_row(model: type[Row], row: dict[str, Any]) -> Row:
    """A model instance from the columns of a raw query, which must return all of the table's columns.

    Raises TablesMissing if the table is of an earlier version.
    """
    if not _has_all_columns(model, tuple(row)):
        raise TablesMissing
    return model._init_from_db(**row)  # noqa: SLF001 - Tortoise's own way, without a public name


@lru_cache
def _has_all_columns(model: type[Model], columns: tuple[str, ...]) -> bool:
    return model._meta.db_fields.issubset(columns)  # noqa: SLF001 - Tortoise has no public list of columns


async def discard_connection(pool_owner: Any, transaction: Any) -> None:
    """Return a broken transaction's connection to the pool that it came from.

    If a transaction cannot begin, Tortoise keeps its connection, and the pool is short of one for good.
    """
    connection = transaction._connection  # noqa: SLF001 - there is no public attribute
    # If asyncpg noticed the loss first, the pool has the connection back already.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()
    await pool_owner._pool.release(connection)  # noqa: SLF001


def is_ended_while_idle(error: asyncpg.InternalClientError) -> bool:
    """Whether an idle connection learned that the server ended at the moment a statement was about to use it."""
    return ENDED_WHILE_IDLE in str(error)


def is_closed(error: asyncpg.InterfaceError) -> bool:
    """Whether a connection is lost. The same class reports our own mistakes, such as a wrong number of arguments."""
    return any(text in str(error) for text in CLOSED)
