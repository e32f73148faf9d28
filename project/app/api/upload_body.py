"""Reads and validates an upload, as a form or as JSON. Errors in it become 4xx responses here."""

import asyncio
import base64
import binascii
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.deps import AppState, current_caller
from app.api.middleware.body_limit import MULTIPART_OVERHEAD, base64_length
from app.api.multipart import INTERRUPTED_UPLOAD, Part, read_form
from app.domain import ModelUnknown
from app.models.pydantic import UploadJson
from app.observability import timing
from app.outbound.addresses import check_url
from app.uploads.intake import UploadBody, UploadOptions
from app.worker.dispatch import Dispatch, ImageModel

RECEIVE_SECONDS: Final = 60.0
"""A slow client occupies its declared size in the memory budget for up to this long: 20 MiB need 2.8 Mbit/s."""
MAX_INLINE_JSON: Final = 64 * 1024
"""Bytes of JSON that are parsed on the event loop; more would delay other requests."""
JSON_COPIES: Final = 5
"""How often an image in JSON is in memory: as chunks, JSON, base64 text, base64 bytes, and decoded."""


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of an upload, whichever way it was sent."""

    data: bytes | None
    image_url: str
    filename: str | None
    model: str
    webhook_url: str


async def read_upload(
    request: Request, state: AppState, *, wait: int | None = None, idempotency_key: str | None = None
) -> UploadBody:
    """Receive an upload and validate its fields.

    Raises RequestValidationError, HTTPException if it is interrupted or too slow, NoWorkerYet or DatabaseUnavailable.
    """
    with timing.stage("receive"):
        fields = await _receive(request)
    # A wait starts after the whole request (RFC 7240, 4.3), not after its first byte.
    received_at = time.monotonic()
    model = await image_model(state.dispatch, fields.model)
    caller = await current_caller(request)
    webhook_url = check_webhook_url(fields.webhook_url, is_enabled=state.settings.webhook_secret is not None)
    if fields.data is None:
        _check_image_url(fields.image_url, is_enabled=state.intake.downloads_enabled)
    return UploadBody(
        data=fields.data,
        image_url=fields.image_url,
        filename=fields.filename,
        options=UploadOptions(model, fields.model, webhook_url, caller.key_id),
        received_at=received_at,
        deadline=received_at + wait if wait else None,
        idempotency_key=idempotency_key,
        on_downloaded=received.add if (received := getattr(request.state, "received", None)) else None,
    )


def expected_memory(request: Request, max_upload_bytes: int) -> int:
    """Bytes of memory that an upload will take: its declared size, or else the maximum."""
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdecimal() else None
    if _is_json(request):
        return JSON_COPIES * (base64_length(max_upload_bytes) + MULTIPART_OVERHEAD if size is None else size)
    return max_upload_bytes + MULTIPART_OVERHEAD if size is None else size


async def image_model(dispatch: Dispatch, name: str) -> ImageModel:
    """The requested model, or the default for an empty name. Raises RequestValidationError if it does not exist."""
    try:
        return await dispatch.image_model(name)
    except ModelUnknown as error:
        raise validation_error(error.code, "model", error.message, name) from error


def check_webhook_url(url: str, *, is_enabled: bool) -> str | None:
    """The webhook's URL; None if there is none. Raises RequestValidationError if it is invalid or disabled."""
    if not url:
        return None
    message = ""
    if not is_enabled:
        message = "Webhooks are disabled: the operator can set WEBHOOK_SECRET"
    else:
        try:
            check_url(url)
        except ValueError as error:
            message = f"Invalid webhook URL: {error}"
    if message:
        raise validation_error("webhook_url_invalid", "webhook_url", message, url)
    return url


def validation_error(kind: str, field: str, message: str, value: Any = None) -> RequestValidationError:
    """The error for a 422 response about a field of the body."""
    return RequestValidationError([{"type": kind, "loc": ("body", field), "msg": message, "input": value}])


def _check_image_url(url: str, *, is_enabled: bool) -> None:
    if not is_enabled:
        message = "Image URLs are disabled: the operator can set IMAGE_URL=public"
        raise validation_error("image_url_invalid", "image_url", message, url)
    try:
        check_url(url)
    except ValueError as error:
        raise validation_error("image_url_invalid", "image_url", f"Invalid image URL: {error}", url) from error


async def _receive(request: Request) -> _Fields:
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            return await (_from_json(request) if _is_json(request) else _from_form(request))
    except TimeoutError:
        message = f"The upload took longer than {RECEIVE_SECONDS:.0f} s."
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, message) from None


def _is_json(request: Request) -> bool:
    """Whether a body is JSON; one without a Content-Type is taken as JSON, because a form needs the header."""
    if not request.headers.get("content-type"):
        return True
    return parse_options_header(request.headers.get("content-type"))[0] == b"application/json"


async def _from_form(request: Request) -> _Fields:
    form = await read_form(request)
    url = _text(form.get("image_url"))
    file = form.get("file")
    if file is not None and file.filename is not None and not url:
        return _Fields(file.data, "", file.filename, _text(form.get("model")), _text(form.get("webhook_url")))
    if not url:
        raise validation_error("missing", "file", "Field required")
    if file is not None and file.filename:
        raise validation_error("image_url_invalid", "image_url", "Send either a file or image_url, not both", url)
    return _Fields(None, url, None, _text(form.get("model")), _text(form.get("webhook_url")))


async def _from_json(request: Request) -> _Fields:
    try:
        # Not request.body(), which the request keeps until it has been answered.
        body = b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, INTERRUPTED_UPLOAD) from error
    if not request.headers.get("content-type") and not body.lstrip().startswith(b"{"):
        raise validation_error("missing", "file", "Field required")
    return _parse_json(body) if len(body) <= MAX_INLINE_JSON else await asyncio.to_thread(_parse_json, body)


def _parse_json(body: bytes) -> _Fields:
    try:
        upload = UploadJson.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in errors]) from error
    if bool(upload.image) == bool(upload.image_url):
        raise validation_error("missing", "image", "Send either `image` (base64) or `image_url`")
    data = _decode_base64(upload.image) if upload.image else None
    return _Fields(data, upload.image_url, upload.filename, upload.model, upload.webhook_url)


def _decode_base64(image: str) -> bytes:
    """Decode base64 (RFC 4648), with optional line breaks, or a ``data:`` URL of it (RFC 2397)."""
    if image[:5].lower() == "data:":
        image = image.partition(",")[2]
    try:
        return base64.b64decode(image.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError) as error:
        message = "The image must be base64, as `base64 -w0` writes it"
        raise validation_error("base64_invalid", "image", message) from error


def _text(part: Part | None) -> str:
    return part.data.decode(errors="replace") if part else ""
