"""Answers HEAD like GET (RFC 9110, 9.3.2), which FastAPI's routes do not do."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """ASGI middleware: routes see GET, and the server omits the body because it keeps the original method."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; streams end after their first part."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        # A copy, because the server relies on the method in its own scope.
        get_scope = {**scope, "method": "GET"}

        async def send_head(message: Message) -> None:
            if "route" in get_scope:
                scope["route"] = get_scope["route"]
            unfinished = message.get("more_body", False)
            await send({**message, "more_body": False} if unfinished else message)
            if unfinished:
                raise _HeadSent

        try:
            await self._app(get_scope, receive, send_head)
        except _HeadSent:
            return


class _HeadSent(BaseException):
    """Ends a stream, which may be endless. A BaseException, so that no handler on the way catches it."""
