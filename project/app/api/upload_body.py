"""What an upload consists of, in either of its forms: multipart, or JSON."""

import asyncio
import base64
import binascii
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.forms import Part, read_form
from app.models.pydantic import UploadJson

RECEIVE_SECONDS: Final = 60.0
"""Who sends slowly takes room from others: 20 MiB in this time are 2.8 Mbit/s."""
SMALL: Final = 64 * 1024
"""Bytes of JSON that are parsed on the event loop: more would hold other requests up."""
COPIES: Final = 5
"""How often an image in JSON is in memory: as chunks, as JSON, as base64 as text and as bytes, and as itself."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An upload as it came: the image, or the address where it is to be had, and what is asked of it."""

    data: bytes | None
    image_url: str
    filename: str | None
    model: str
    webhook_url: str


async def read_sent(request: Request) -> Sent:
    """Receive an upload. Raises RequestValidationError, or HTTPException where it broke off or took too long."""
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            return await (_from_json(request) if is_json(request) else _from_form(request))
    except TimeoutError:
        told = f"The upload took longer than {RECEIVE_SECONDS:.0f} s."
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, told) from None


def is_json(request: Request) -> bool:
    """Whether an upload comes as JSON."""
    return parse_options_header(request.headers.get("content-type"))[0] == b"application/json"


async def _from_form(request: Request) -> Sent:
    form = await read_form(request)
    url = field(form.get("image_url"))
    file = form.get("file")
    if file is not None and file.filename is not None and not url:
        return Sent(file.data, "", file.filename, field(form.get("model")), field(form.get("webhook_url")))
    if not url:
        raise invalid("missing", "file", "Field required")
    if file is not None and file.filename:
        raise invalid("image_url_invalid", "image_url", "Send either a file or image_url, not both", url)
    return Sent(None, url, None, field(form.get("model")), field(form.get("webhook_url")))


async def _from_json(request: Request) -> Sent:
    try:
        # Not request.body(), which the request keeps until it has been answered.
        body = b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The upload was interrupted.") from error
    return _parsed(body) if len(body) <= SMALL else await asyncio.to_thread(_parsed, body)


def _parsed(body: bytes) -> Sent:
    try:
        upload = UploadJson.model_validate_json(body)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in told]) from error
    if bool(upload.image) == bool(upload.image_url):
        raise invalid("missing", "image", "Send either `image` (base64) or `image_url`")
    data = _decoded(upload.image) if upload.image else None
    return Sent(data, upload.image_url, upload.filename, upload.model, upload.webhook_url)


def _decoded(image: str) -> bytes:
    """From base64 (RFC 4648), which may have line breaks, or be a ``data:`` URL of it (RFC 2397)."""
    if image[:5].lower() == "data:":
        image = image.partition(",")[2]
    try:
        return base64.b64decode(image.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("base64_invalid", "image", "The image must be base64, as `base64 -w0` writes it") from error


def field(part: Part | None) -> str:
    """A field of a form as text; empty where it is not there."""
    return part.data.decode(errors="replace") if part else ""


def invalid(kind: str, name: str, told: str, sent: Any = None) -> RequestValidationError:
    """The error that answers 422, with what is wrong with a field of the body."""
    return RequestValidationError([{"type": kind, "loc": ("body", name), "msg": told, "input": sent}])
