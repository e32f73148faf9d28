"""Every path with and without its trailing slash, directly: a redirected upload is sent twice, or lost."""

from typing import Final

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

_RETRIED: Final = "app.slash_retried"


def answer_both_slashes(app: FastAPI) -> None:
    """Where no route has a path, look for one with the other ending before answering 404."""
    router = app.router
    router.redirect_slashes = False
    not_found = router.default

    async def with_the_other_ending(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] != "http" or _RETRIED in scope or path == "/":
            await not_found(scope, receive, send)
            return
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        await router({**scope, "path": other or "/", _RETRIED: path}, receive, send)

    router.default = with_the_other_ending
