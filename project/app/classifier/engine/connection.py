"""The service's end of the connection to an engine: frames, without asyncio's streams, which take twice the time."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from app.classifier.engine.frames import LENGTHS, Header, packed


class EngineConnection(asyncio.Protocol):
    """Sends frames, and calls ``on_frame`` with the header and the body of each one that arrives."""

    def __init__(self, on_frame: Callable[[Header, bytes], None]) -> None:
        self._on_frame = on_frame
        self._received = bytearray()
        self._transport: Any = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        while frame := self._next_frame():
            self._on_frame(*frame)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by asyncio."""
        if not self.ended.done():
            self.ended.set_result(None)

    def send(self, header: Header, body: bytes = b"") -> None:
        """Send a frame, without waiting until it is sent."""
        self._transport.writelines([packed(header, len(body)), body])

    def close(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _next_frame(self) -> tuple[Header, bytes] | None:
        """Remove the first frame from what was received; None if it is incomplete."""
        if len(self._received) < LENGTHS.size:
            return None
        header_bytes, body_bytes = LENGTHS.unpack_from(self._received)
        body_begins = LENGTHS.size + header_bytes
        end = body_begins + body_bytes
        if len(self._received) < end:
            return None
        header: Header = json.loads(self._received[LENGTHS.size : body_begins])
        body = bytes(self._received[body_begins:end])
        del self._received[:end]
        return header, body
