"""What a server is told when the application cannot start."""

import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain import StartupError


class PlainStartupErrors:
    """ASGI middleware: the server logs one clear line where the service knows what is wrong, not a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; only the reason of a failed start is put into words."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def plain_send(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                # Starlette sends this while it handles the exception, with the traceback as its message.
                error = sys.exc_info()[1]
                if isinstance(error, StartupError):
                    message["message"] = error.message
            await send(message)

        await self._app(scope, receive, plain_send)
