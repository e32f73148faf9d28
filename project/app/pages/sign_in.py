"""Sign-in with an API key, and sign-out."""

from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.api.middleware.auth import SIGN_IN, SIGN_OUT, client_address
from app.api.middleware.refused_keys import note_refused_key
from app.api.session_cookie import SessionCookie
from app.db.crud import api_keys, audit_log
from app.domain import KeyRefused, Scope
from app.pages.errors import PageRoute
from app.pages.rendering import local_path, page
from app.pages.translation import mark

router = APIRouter(include_in_schema=False, route_class=PageRoute)

UPLOADS_ONLY: Final = mark("This API key may not read results, so it cannot be used on the page.")
SESSION_LIFETIME: Final = timedelta(hours=12)


@router.get(f"{SIGN_IN}/")
async def show_sign_in(request: Request, target: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The sign-in form."""
    return page(request, "sign-in.html", navigation=False, next=local_path(target) or "/", message="")


@router.post(f"{SIGN_IN}/")
async def sign_in(request: Request) -> Response:
    """Start a session and redirect to the requested page."""
    form = await request.form()
    target = local_path(str(form.get("next", ""))) or "/"
    try:
        caller = await api_keys.authenticate_key(str(form.get("key", "")).strip())
    except KeyRefused as error:
        note_refused_key(client_address(request))
        return page(
            *(request, "sign-in.html"),
            status=HTTPStatus.UNAUTHORIZED,
            navigation=False,
            next=target,
            message=error.message,
        )
    assert caller.key_id is not None
    if not caller.may(Scope.READ):
        return page(
            *(request, "sign-in.html"),
            status=HTTPStatus.FORBIDDEN,
            navigation=False,
            next=target,
            message=UPLOADS_ONLY,
        )
    token = await api_keys.begin_session(caller.key_id, SESSION_LIFETIME)
    signed_in = replace(caller, address=client_address(request))
    await audit_log.record("session.started", signed_in, caller.key_id)
    root = request.scope.get("root_path", "")
    response = RedirectResponse(f"{root}{target}", HTTPStatus.SEE_OTHER)
    response.set_cookie(
        await _cookie(request).name(),
        token,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        path=root or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.post(f"{SIGN_OUT}/")
async def sign_out(request: Request) -> Response:
    """End the session, on the server and in the browser."""
    cookie = _cookie(request)
    if token := await cookie.token(request):
        await api_keys.end_session(token)
    root = request.scope.get("root_path", "")
    response = RedirectResponse(f"{root}{SIGN_IN}", HTTPStatus.SEE_OTHER)
    response.delete_cookie(await cookie.name(), path=root or "/")
    return response


def _cookie(request: Request) -> SessionCookie:
    cookie = request.state.session_cookie
    assert isinstance(cookie, SessionCookie)
    return cookie
