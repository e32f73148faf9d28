"""Answers that are given before the request was read to its end."""

import asyncio
from typing import Final

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

LINGER_BYTES: Final = 4 * 2**20
WHOLE_BYTES: Final = 32 * 2**20
"""A request that says it is no longer is read to its end: nginx, which lets so much through (``deploy/nginx``), takes
what it cannot send for a fault of the service."""
LINGER_SECONDS: Final = 2.0


class EarlyAnswer(Response):
    """A response after which the rest of the request is read for a moment, and the connection closed.

    A connection closed on unread bytes is reset, and the answer with it, before the client has seen it (RFC 9112, 9.6).
    """

    @classmethod
    def of(cls, response: Response) -> "EarlyAnswer":
        """Another response, given early."""
        headers = {**response.headers, "Connection": "close"}
        return cls(response.body, response.status_code, headers, response.media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once, and end when the client has had time to see it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        declared = Headers(scope=scope).get("content-length", "")
        await _linger(receive, WHOLE_BYTES if declared.isdecimal() and int(declared) <= WHOLE_BYTES else LINGER_BYTES)
        await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive, most: int) -> None:
    read = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while read < most:
                message = await receive()
                read += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
