"""HTTP connections with limits on time (to send a request and to read the response) and memory."""

import asyncio
import logging
import socket
import struct
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.errors import problem
from app.api.middleware.request_log import log_malformed_request, new_request_id
from app.api.middleware.security_headers import HEADERS
from app.observability.log_events import CLIENT_STALLED

log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 15.0
"""From a new connection, or the first byte of another request, to the end of the request's headers."""
READ_TIMEOUT_SECONDS: Final = 60.0
"""Time limit for the client to read what was sent, beyond what fits into buffers."""
INITIAL_READ_BYTES: Final = 16 * 1024
"""Bytes read of a request before the application asks for its body: thousands may wait for memory."""
BODY_READ_BYTES: Final = 256 * 1024
"""Bytes read at once of a body that the application has asked for."""
NOT_HTTP: Final = "This is not an HTTP/1.1 request. This port serves plain HTTP, not HTTPS."


class ConnectionProtocol(HttpToolsProtocol):
    """uvicorn's protocol with time limits on headers and reading. Time limits on bodies belong to their readers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self.in_body = False
        """Whether more of a request's body is expected."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for the first request's headers."""
        super().connection_made(transport)
        transport.set_protocol(_BoundedReader(self))
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Pause after the first piece of a body until the application asks for more."""
        was_in_body = self.in_body
        super().data_received(data)
        if self.in_body and not was_in_body and not self.cycle.response_complete:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn has logged it
        """Respond to bytes that are not HTTP as to any other bad request, with an ID, a log line and metrics."""
        request_id = new_request_id()
        response = problem(HTTPStatus.BAD_REQUEST, NOT_HTTP)
        headers = [*response.raw_headers, *HEADERS, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in [*self.server_state.default_headers, *headers])
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + bytes(response.body))
        self.transport.close()
        log_malformed_request(request_id, HTTPStatus.BAD_REQUEST, len(response.body))

    def on_message_begin(self) -> None:
        """Start the time limit for the request's headers."""
        super().on_message_begin()
        if self._head_timer is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The headers are complete."""
        self._cancel_head_timer()
        super().on_headers_complete()
        self.in_body = True

    def on_message_complete(self) -> None:
        """The request is complete."""
        self.in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Start the time limit for the client to read."""
        super().pause_writing()
        self._read_timer = self._read_timer or self.loop.call_later(READ_TIMEOUT_SECONDS, self._close, "read nothing")

    def resume_writing(self) -> None:
        """Stop the time limit for the client to read."""
        super().resume_writing()
        self._cancel_read_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all time limits."""
        self._cancel_head_timer()
        self._cancel_read_timer()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close, "did not send a complete request")

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _close(self, reason: str) -> None:
        log.debug(CLIENT_STALLED, reason)
        # Resets the connection; otherwise the system keeps the unread data and goes on offering it.
        if (connection := self.transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _BoundedReader(asyncio.BufferedProtocol):
    """Reads a bounded number of bytes at a time; uvloop would always read up to 250 kB."""

    # Shared by all connections: data is copied out before anything else is read (asyncio.BufferedProtocol).
    _buffer: Final = memoryview(bytearray(BODY_READ_BYTES))

    def __init__(self, connection: ConnectionProtocol) -> None:
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - required by the protocol
        """The buffer for the next read."""
        return self._buffer if self._connection.in_body else self._buffer[:INITIAL_READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass the data on."""
        self._connection.data_received(bytes(self._buffer[:nbytes]))

    def pause_writing(self) -> None:
        """Pass it on."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._connection.connection_lost(exc)
