"""HEAD wherever there is GET (RFC 9110, 9.3.2), which FastAPI's routes do not answer by themselves."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware: routes see GET. The server, which keeps the request's own method, leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what would follow the first part of a body is not waited for."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        # Its own, since the server goes on by the method in its scope.
        asked = {**scope, "method": "GET"}

        async def send_head(message: Message) -> None:
            if "route" in asked:
                scope["route"] = asked["route"]
            unfinished = message.get("more_body", False)
            await send({**message, "more_body": False} if unfinished else message)
            if unfinished:
                raise _Answered

        try:
            await self._app(asked, receive, send_head)
        except _Answered:
            return


class _Answered(BaseException):
    """Leaves a stream, which may have no end. No Exception, so that nothing on the way answers for it."""
