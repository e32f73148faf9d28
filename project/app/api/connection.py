"""HTTP connections with limits on time (to send a request and to read the response) and memory."""

import asyncio
import logging
import socket
import struct
import sys
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.early_response import LINGER_BYTES, LINGER_SECONDS
from app.api.errors import problem
from app.api.head_limits import HeadLimits, HeadRefused
from app.api.middleware.request_log import log_malformed_request, new_request_id
from app.api.middleware.security_headers import HEADERS
from app.observability.log_events import CLIENT_STALLED

log = logging.getLogger(__name__)

DEFAULT_HEAD_BYTES: Final = 64 * 1024
HEAD_SECONDS: Final = 15.0
"""From a new connection, the first byte of another request, or the end of the response before it, to the end of the
request's headers."""
READ_TIMEOUT_SECONDS: Final = 60.0
"""Time limit for the client to read what was sent, beyond what fits into buffers."""
INITIAL_READ_BYTES: Final = 16 * 1024
"""Bytes read of a request before the application asks for its body: thousands may wait for memory."""
BODY_READ_BYTES: Final = 256 * 1024
"""Bytes read at once of a body that the application has asked for."""
MAPPED: Final = "::ffff:"
"""Begins an IPv4 address on a socket for both families (RFC 4291, 2.5.5.2)."""
UPGRADE_FIELDS: Final = frozenset((b"upgrade", b"http2-settings"))
"""Headers of an offer to continue in another protocol; also names in the header Connection."""
NOT_HTTP: Final = "This is not an HTTP/1.1 request. This port serves plain HTTP, not HTTPS."


class ConnectionProtocol(HttpToolsProtocol):
    """uvicorn's protocol with time limits on headers and reading. Time limits on bodies belong to their readers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = HeadLimits(self.config.h11_max_incomplete_event_size or DEFAULT_HEAD_BYTES)
        self._body_bytes = 0
        self._responding: RequestResponseCycle | None = None
        self._is_refused = False
        self._data = b""
        self._is_upgrade = False
        self._discarded_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self.in_body = False
        """Whether more of a request's body is expected."""
        self._in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for the first request's headers."""
        super().connection_made(transport)
        if self.client and self.client[0].startswith(MAPPED):
            self.client = self.client[0].removeprefix(MAPPED), self.client[1]
        transport.set_protocol(_BoundedReader(self))
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Parse data within the limits, and pause after the first piece of a body until it is asked for."""
        if self._is_refused:
            self._discard(data)
            return
        was_in_body, self._body_bytes = self.in_body, 0
        self._data = data
        super().data_received(data)
        # Thousands of connections would each keep their last piece.
        self._data = b""
        self._after_data(len(data), was_in_body=was_in_body)

    def _after_data(self, size: int, *, was_in_body: bool) -> None:
        if self._is_refused:
            return
        try:
            if was_in_body and self.in_body:
                self._limits.count_body(size, self._body_bytes)
            elif not was_in_body and self._in_head:
                self._limits.count_unparsed(size)
        except HeadRefused as error:
            self._refuse(error.status, error.message)
            return
        if self.in_body and not was_in_body and not self.cycle.response_complete:
            self.flow.pause_reading()
        if self._head_timer is None and not self._in_head and not self._is_responding():
            # Empty lines before a request: they would keep the connection open without end.
            self._wait_for_head()

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore an offer to upgrade (RFC 9110, 7.8): parse the request again without it.

        The parser takes a request with an upgrade for one without a body, and the body for a request.
        """
        upgrade = sys.exception()
        assert isinstance(upgrade, httptools.HttpParserUpgrade)
        self._is_upgrade = False
        head = self._head_without_upgrade()
        self.parser = httptools.HttpRequestParser(self)
        super().data_received(head + self._data[upgrade.args[0] :])

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [option for option in value.split(b",") if option.strip().lower() not in UPGRADE_FIELDS]
                lines.append(b"connection: " + b",".join(kept))
            elif name not in UPGRADE_FIELDS:
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn has logged it
        """Respond to bytes that are not HTTP, or exceed a limit, as to any other bad request."""
        cause = sys.exception()
        too_large = cause.__context__ if cause else None
        if isinstance(too_large, HeadRefused):
            self._refuse(too_large.status, too_large.message)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, NOT_HTTP)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Respond with an ID, a log line and metrics, and read nothing more."""
        self._cancel_head_timer()
        running = self._responding
        if self._is_responding() and (running is not self.cycle or self.cycle.response_started or not self.in_body):
            # The client would read this as part of the running response, or as that response itself.
            self._close("exceeded a limit before the response was complete")
            return
        request_id = new_request_id()
        response = problem(status, message)
        headers = [*response.raw_headers, *HEADERS, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in [*self.server_state.default_headers, *headers])
        self.transport.write(b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) + lines + b"\r\n")
        self.transport.write(bytes(response.body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        log_malformed_request(request_id, self.client[0] if self.client else "", status, len(response.body))
        self._disconnect()
        # Closing at once would reset the connection, and the client might never see the response (RFC 9112, 9.6).
        self._is_refused = True
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _discard(self, data: bytes) -> None:
        self._discarded_bytes += len(data)
        if self._discarded_bytes > LINGER_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the limits for the request's headers."""
        super().on_message_begin()
        self._in_head = True
        self._limits.begin()
        if self._head_timer is None and not self._is_responding():
            self._wait_for_head()

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        self._limits.count_url(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer of a chunked body; trailers are dropped, because the headers are in use by then."""
        self._limits.count_field(name, value)
        if not self.in_body:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """The headers are complete. The parser is asked again later if they offer an upgrade."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise HeadRefused(HTTPStatus.NOT_IMPLEMENTED, "CONNECT is not supported: this is not a proxy.")
            self._is_upgrade = True
            return
        self._cancel_head_timer()
        self._in_head = False
        super().on_headers_complete()
        self.in_body = True

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self._is_upgrade:
            return
        self.in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next request, or the time limit for the rest of its headers."""
        self._responding = None
        super().on_response_complete()
        if self._in_head and not self._is_responding() and self._head_timer is None:
            self._wait_for_head()

    def pause_writing(self) -> None:
        """Start the time limit for the client to read."""
        super().pause_writing()
        self._read_timer = self._read_timer or self.loop.call_later(READ_TIMEOUT_SECONDS, self._close, "read nothing")

    def resume_writing(self) -> None:
        """Stop the time limit for the client to read."""
        super().resume_writing()
        self._cancel_read_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all time limits, and drop what the application still sends."""
        self._disconnect()
        self._cancel_head_timer()
        self._cancel_read_timer()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._responding = cycle
        super()._start_asgi_task(cycle, app)

    def _is_responding(self) -> bool:
        return self._responding is not None

    def _disconnect(self) -> None:
        """Tell every request of the connection; uvicorn only tells the last one, which may still wait for its turn."""
        for cycle in (self._responding, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

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
        self._disconnect()
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
