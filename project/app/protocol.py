"""HTTP connections that are ended when a client takes too long to ask, or to read what it asked for."""

import asyncio
import logging
import socket
import struct
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 15.0
"""From a connection, or the first byte of a further request, to the end of the request's head."""
STALLED_SECONDS: Final = 60.0
"""What was sent has to be read by then, but for what fits into buffers."""


class ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's, which waits for ever. How long a body may take is for those who read it to say."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The head of the first request is waited for."""
        super().connection_made(transport)
        self._wait_for_head()

    def on_message_begin(self) -> None:
        """The rest of a head is waited for."""
        super().on_message_begin()
        if self._head is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._cancel_head()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The client does not keep up with reading."""
        super().pause_writing()
        self._stalled = self._stalled or self.loop.call_later(STALLED_SECONDS, self._give_up, "read nothing")

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._cancel_stalled()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any longer."""
        self._cancel_head()
        self._cancel_stalled()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(HEAD_SECONDS, self._give_up, "did not say what it wants")

    def _cancel_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _cancel_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up(self, reason: str) -> None:
        log.debug("A client %s for too long: its connection is ended", reason)
        # With a reset: otherwise the system would keep what was not read, and go on offering it.
        if (connection := self.transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
