"""The private API of Tortoise and asyncpg that the service relies on; a new version may change it."""

import asyncpg
import pytest
from tortoise import connections
from tortoise.transactions import in_transaction

from app.config import Settings
from app.db.connection import connected, execute
from app.db.driver_internals import discard_connection, from_row, is_closed, is_ended_while_idle
from app.models.tortoise import Installation


@pytest.mark.usefixtures("connected")
async def test_row_of_a_raw_query_becomes_a_model_instance() -> None:
    (row,) = await execute("SELECT * FROM installation")
    installation = from_row(Installation, row)
    assert installation.id == row["id"]
    assert installation.swept_at == row["swept_at"]


@pytest.mark.usefixtures("connected")
async def test_instance_of_a_raw_query_can_be_saved_without_an_insert() -> None:
    (row,) = await execute("SELECT * FROM installation")
    await from_row(Installation, row).save()
    assert await Installation.all().count() == 1


async def test_discarded_connection_leaves_room_in_the_pool(settings: Settings, database_url: str) -> None:
    async with connected(database_url, settings.model_copy(update={"database_pool_size": 2})):
        client = connections.get("default")
        for _ in range(5):
            async with in_transaction() as transaction:
                pass
            # What is left after a transaction that could not begin: a connection that belongs to the pool.
            transaction._connection = await client._pool.acquire()
            await discard_connection(client, transaction)
        assert await execute("SELECT 1 AS one")


async def test_closed_connection_is_recognised(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.close()
    with pytest.raises(asyncpg.InterfaceError) as closed:
        await connection.execute("SELECT 1")
    assert is_closed(closed.value)


async def test_released_connection_is_recognised(database_url: str) -> None:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        connection = await pool.acquire()
        await pool.release(connection)
        with pytest.raises(asyncpg.InterfaceError) as released:
            await connection.execute("SELECT 1")
    assert is_closed(released.value)


async def test_wrong_arguments_are_not_a_closed_connection(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.InterfaceError) as mistake:
        await connection.fetch("SELECT $1::int", 1, 2)
    await connection.close()
    assert not is_closed(mistake.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot switch to state 12; another operation (2) is in progress", True),
        ("cannot switch to state 15; another operation (11) is in progress", False),
    ],
)
def test_only_the_state_of_an_ended_server_is_recognised(text: str, expected: bool) -> None:
    assert is_ended_while_idle(asyncpg.InternalClientError(text)) is expected
