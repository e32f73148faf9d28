"""API keys, for administrators: create, list and revoke them."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Form, Request, Response
from pydantic import BaseModel, Field

from app.api.deps import CurrentCaller
from app.api.params import Id
from app.db.crud import api_keys
from app.db.crud.api_keys import MAX_NAME_LENGTH
from app.domain import Caller, KeyNotFound, Scope, ScopeMissing
from app.models.pydantic import StorableStr
from app.models.tortoise import ApiKey
from app.pages.errors import PageRoute
from app.pages.rendering import page, redirect
from app.pages.translation import mark

LIFETIMES: Final = {"30": mark("30 days"), "90": mark("90 days"), "365": mark("1 year"), "": mark("unlimited")}
"""Days, and their names."""
SCOPES: Final = {
    Scope.UPLOAD: mark("upload images, and read the results of these"),
    Scope.READ: mark("read everything"),
    Scope.WRITE: mark("upload, correct and delete"),
    Scope.ADMIN: mark("everything, API keys included"),
}


async def _require_administrator(caller: CurrentCaller) -> None:
    """Raises ScopeMissing. On a service that is open to everybody, only the command line creates keys."""
    if caller.key_id is None or not caller.may(Scope.ADMIN):
        raise ScopeMissing


router = APIRouter(
    prefix="/keys",
    include_in_schema=False,
    route_class=PageRoute,
    dependencies=[Depends(_require_administrator)],
)


class NewKey(BaseModel):
    """The form for a new key."""

    name: Annotated[StorableStr, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    days: Literal["30", "90", "365", ""] = ""


@router.get("/")
async def show_keys(request: Request, caller: CurrentCaller) -> Response:
    """All keys, and a form for another one."""
    return await _show(request, caller)


@router.post("/")
async def create_key(request: Request, caller: CurrentCaller, form: Annotated[NewKey, Form()]) -> Response:
    """Create a key, and show it: once, because only its hash is stored."""
    lifetime = timedelta(days=int(form.days)) if form.days else None
    _, key = await api_keys.create(form.name.strip(), form.scopes, lifetime, caller.name)
    return await _show(request, caller, key, form.name.strip())


@router.post("/{id}/revocation/")
async def revoke_key(id: Id, request: Request, caller: CurrentCaller) -> Response:
    """Revoke a key, and its sessions."""
    if not await api_keys.revoke(id, caller.name):
        raise KeyNotFound
    return redirect(request, "/keys")


async def _show(request: Request, caller: Caller, key: str = "", name: str = "") -> Response:
    keys = [(one, _state(one)) for one in reversed(await api_keys.list_all())]
    return page(
        *(request, "keys.html"),
        status=HTTPStatus.CREATED if key else HTTPStatus.OK,
        keys=keys,
        new_key=key,
        new_name=name,
        own=caller.key_id,
        scopes=SCOPES,
        lifetimes=LIFETIMES,
    )


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return mark("revoked")
    if key.expires_at and key.expires_at < datetime.now(UTC):
        return mark("expired")
    return mark("valid")
