"""Being told of changes to predictions, whoever makes them: PostgreSQL's LISTEN, on a connection of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import asyncpg

from app.db import AWAY, own_connection

log = logging.getLogger(__name__)

CHANNEL: Final = "predictions"
"""What the triggers of the migrations notify: ``12 succeeded,13 processing``; ``deleted`` of a row that is gone."""
PROBE_SECONDS: Final = 10.0
"""A connection that was cut off says nothing, so it is asked."""
RECONNECT_SECONDS: Final = 1.0


class Notices:
    """Wakes those who wait for predictions."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._watching: dict[int, set[asyncio.Event]] = {}

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Notices arrive while inside; where the database goes away, again once it is back."""
        task = asyncio.create_task(self._listen_forever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @contextmanager
    def watch(self, prediction_id: int) -> Iterator[asyncio.Event]:
        """An event that is set by every change of a prediction, and where changes may have been missed."""
        event = asyncio.Event()
        watching = self._watching.setdefault(prediction_id, set())
        watching.add(event)
        try:
            yield event
        finally:
            watching.discard(event)
            if not watching:
                self._watching.pop(prediction_id, None)

    async def _listen_forever(self) -> None:
        while True:
            try:
                async with own_connection(self._url) as connection:
                    await connection.add_listener(CHANNEL, self._on_notice)
                    # What happened while nobody listened is looked up by those who wait.
                    self._wake(list(self._watching))
                    while True:
                        await asyncio.sleep(PROBE_SECONDS)
                        await connection.execute("SELECT 1")
            except (*AWAY, asyncpg.InterfaceError) as error:
                log.debug("Listening for changes of predictions was interrupted: %s", error or type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)
            except Exception:
                # Who waits looks for themselves meanwhile, a little later.
                log.exception("Listening for changes of predictions went wrong")
                await asyncio.sleep(RECONNECT_SECONDS)

    def _on_notice(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._wake([int(change.split(" ", 1)[0]) for change in str(payload).split(",")])

    def _wake(self, prediction_ids: list[int]) -> None:
        for prediction_id in prediction_ids:
            for event in self._watching.get(prediction_id, ()):
                event.set()
