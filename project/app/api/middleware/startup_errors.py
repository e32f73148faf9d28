"""Error messages for a failed startup."""

import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain import DatabaseUnavailable, StartupError


class StartupErrorMiddleware:
    """ASGI middleware: logs one clear line instead of a traceback if the cause of a failed startup is known."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; only replace the message of a failed startup."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def plain_send(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                # Starlette sends this message, with the traceback as its text, while it handles the exception.
                error = sys.exc_info()[1]
                if isinstance(error, StartupError | DatabaseUnavailable):
                    message["message"] = error.message
            await send(message)

        await self._app(scope, receive, plain_send)
