"""Responses sent before the request body has been read."""

import asyncio
from typing import Final

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

LINGER_BYTES: Final = 4 * 2**20
WHOLE_BYTES: Final = 32 * 2**20
"""Requests declared no longer than this are read completely, because nginx (``deploy/nginx``) accepts as much and
reports an upstream error if it cannot send everything."""
LINGER_SECONDS: Final = 2.0


class EarlyResponse(Response):
    """A response that keeps reading the request for a moment before the connection is closed.

    Closing a connection with unread bytes resets it, and the client may never see the response (RFC 9112, 9.6).
    """

    @classmethod
    def of(cls, response: Response) -> "EarlyResponse":
        """Another response, sent early."""
        headers = {**response.headers, "Connection": "close"}
        return cls(response.body, response.status_code, headers, response.media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond immediately, then give the client time to read the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        declared = Headers(scope=scope).get("content-length", "")
        await _linger(receive, WHOLE_BYTES if declared.isdecimal() and int(declared) <= WHOLE_BYTES else LINGER_BYTES)
        await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive, max_bytes: int) -> None:
    read = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while read < max_bytes:
                message = await receive()
                read += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
