"""Accepts paths with and without a trailing slash, without redirects: a redirected upload is sent twice or lost."""

from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.types import Receive, Scope, Send

from app.api.errors import MethodRefused

_PATH_AS_SENT: Final = "app.path_as_sent"


def refuse_other_methods(router: APIRouter, path: str, *methods: str) -> None:
    """Respond with 405 to other methods on a path that would otherwise be parsed as an ID."""
    others = sorted({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - set(methods))

    @router.api_route(path, methods=others, include_in_schema=False)
    async def refuse() -> None:
        raise MethodRefused(methods)


def accept_both_slashes(app: FastAPI) -> None:
    """If no route matches a path, try the path with or without its trailing slash before responding with 404."""
    router = app.router
    router.redirect_slashes = False
    not_found = router.default

    async def with_other_ending(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if _PATH_AS_SENT in scope:
            # Neither exists: respond for the path that was requested.
            scope["path"] = scope[_PATH_AS_SENT]
        elif scope["type"] == "http" and path != "/":
            scope[_PATH_AS_SENT] = path
            scope["path"] = path.removesuffix("/") if path.endswith("/") else f"{path}/"
            await router(scope, receive, send)
            return
        await not_found(scope, receive, send)

    router.default = with_other_ending
