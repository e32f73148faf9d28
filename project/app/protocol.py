"""HTTP connections that take no more than their share: of time, to ask and to read the answer, and of memory."""

import asyncio
import logging
import socket
import struct
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.errors import problem
from app.api.observed import new_request_id, tell_of_no_request
from app.api.security_headers import HEADERS
from app.log_events import CLIENT_STALLED

log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 15.0
"""From a connection, or the first byte of a further request, to the end of the request's head."""
STALLED_SECONDS: Final = 60.0
"""What was sent has to be read by then, but for what fits into buffers."""
UNASKED_BYTES: Final = 16 * 1024
"""Of a request, read before the application asks for its body: thousands may stand in line for room to be received."""
ASKED_BYTES: Final = 256 * 1024
"""Read at once of a body that the application has asked for."""
NO_HTTP: Final = "What was sent is not HTTP/1.1. Was it meant for a server that speaks TLS (https)?"


class ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's, which waits for ever. How long a body may take is for those who read it to say."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self.in_body = False
        """Whether the rest of a request's body is to come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The head of the first request is waited for."""
        super().connection_made(transport)
        transport.set_protocol(_InPieces(self))
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Of a body, its first piece is taken, and the rest when the application asks for it."""
        was_in_body = self.in_body
        super().data_received(data)
        if self.in_body and not was_in_body and not self.cycle.response_complete:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn has logged it
        """What came is no HTTP: it is answered, and told of, as everything else that is wrong."""
        request_id = new_request_id()
        answer = problem(HTTPStatus.BAD_REQUEST, NO_HTTP)
        headers = [*answer.raw_headers, *HEADERS, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in [*self.server_state.default_headers, *headers])
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + bytes(answer.body))
        self.transport.close()
        tell_of_no_request(request_id, HTTPStatus.BAD_REQUEST, len(answer.body))

    def on_message_begin(self) -> None:
        """The rest of a head is waited for."""
        super().on_message_begin()
        if self._head is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._cancel_head()
        super().on_headers_complete()
        self.in_body = True

    def on_message_complete(self) -> None:
        """The request is there."""
        self.in_body = False
        super().on_message_complete()

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
        log.debug(CLIENT_STALLED, reason)
        # With a reset: otherwise the system would keep what was not read, and go on offering it.
        if (connection := self.transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _InPieces(asyncio.BufferedProtocol):
    """Reads for a connection, no more at once than it should have; uvloop would always read up to 250 kB."""

    # One for all connections: what was read is taken out before anything else is (asyncio.BufferedProtocol).
    _buffer: Final = memoryview(bytearray(ASKED_BYTES))

    def __init__(self, connection: ImpatientProtocol) -> None:
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a protocol's
        """Where to write what comes next."""
        return self._buffer if self._connection.in_body else self._buffer[:UNASKED_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """It was written."""
        self._connection.data_received(bytes(self._buffer[:nbytes]))

    def pause_writing(self) -> None:
        """For the connection."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """For the connection."""
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """For the connection."""
        self._connection.connection_lost(exc)
