"""Routes that create or repeat a classification."""

import time
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from app.api.deps import AppState, CurrentCaller, State, app_state
from app.api.errors import PROBLEM, problem_responses
from app.api.params import IDEMPOTENCY_KEY, PREFER, Id, idempotency_key, wait_seconds
from app.api.upload_body import expected_memory, image_model, read_upload, validation_error
from app.api.upload_response import NOT_READABLE, no_content, prediction_response, respond
from app.domain import IdempotencyKeyReused, ImageNotFetched, Scope
from app.models.pydantic import PredictionRead, Reclassification, UploadJson
from app.uploads.intake import Submission

router = APIRouter(prefix="/predictions", tags=["classification"], strict_content_type=False)

_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Upload",
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "JPEG, MPO, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF; of an animation, the first frame.",
        },
        "image_url": {
            "type": "string",
            "default": "",
            "description": "URL to download the image from instead of a file, if the operator allows it.",
        },
        "model": {
            "type": "string",
            "default": "",
            "description": "Name of a model from /models; empty for the default model.",
        },
        "webhook_url": {
            "type": "string",
            "default": "",
            "description": "URL that receives a signed webhook (Standard Webhooks) when the prediction finishes.",
        },
    },
}


# The form is parsed and the response written without FastAPI, which would take as long as all the rest.
@router.post(
    "/",
    status_code=HTTPStatus.CREATED,
    response_model=PredictionRead,
    summary="Upload an image",
    response_description="The `pending` prediction; with `Prefer: wait=N`, finished if it took no longer.",
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    | {
        HTTPStatus.UNPROCESSABLE_ENTITY: {
            "description": "No file, an unknown model, or an Idempotency-Key of another upload",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}},
                PROBLEM: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": "about:blank",
                        "title": "Unprocessable Entity",
                        "status": 422,
                        "detail": IdempotencyKeyReused().message,
                        "code": IdempotencyKeyReused.code,
                    },
                },
            },
        }
    },
    openapi_extra={
        "parameters": [PREFER, IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _FORM},
                "application/json": {"schema": UploadJson.model_json_schema()},
            },
        },
    },
)
async def upload_image(request: Request) -> Response:
    """Stores the image and a `pending` prediction, responds immediately, and classifies the image afterwards.

    Poll `GET /predictions/{id}/` for the result, or send `Prefer: wait=10` to get it in this response.
    """
    state = await app_state(request)
    wait = wait_seconds(request, state.settings.max_wait_seconds)
    submission = await accept_upload(request, state, wait=wait, key=idempotency_key(request))
    return await respond(request, state, submission, wait)


class UploadRoute(Route):
    """The route above without FastAPI's layers, which take a twentieth of an upload's time on the event loop.

    FastAPI's own route documents it.
    """

    def __init__(self) -> None:
        super().__init__(f"{router.prefix}/", upload_image, methods=["POST"])

    def matches(self, scope: AsgiScope) -> tuple[Match, AsgiScope]:
        """Match uploads alone: for other methods, FastAPI's routes decide."""
        match, child_scope = super().matches(scope)
        return (match, child_scope) if match is Match.FULL else (Match.NONE, {})

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Respond to an upload."""
        scope["route"] = self
        response = await upload_image(Request(scope, receive, send))
        await response(scope, receive, send)


async def accept_upload(
    request: Request, state: AppState, *, wait: int | None = None, key: str | None = None
) -> Submission:
    """Read an upload and submit it; frees the upload's memory before returning.

    Raises what ``read_upload`` and ``Intake.submit`` raise, and Overloaded.
    """
    with state.backlog.reserve():
        async with state.upload_budget.reserve(expected_memory(request, state.settings.max_upload_bytes)):
            upload = await read_upload(request, state, wait=wait, idempotency_key=key)
            if upload.data is not None:
                return await state.intake.submit(upload)
        # A URL needs no memory here; its download reserves its own.
        try:
            return await state.intake.submit(upload)
        except ImageNotFetched as error:
            raise validation_error(error.code, "image_url", error.message, upload.image_url) from error


@router.post(
    "/{id}/reclassify/",
    status_code=HTTPStatus.ACCEPTED,
    response_model=PredictionRead,
    summary="Classify again",
    response_description="The prediction, `pending` again; with `Prefer: wait=N`, finished if it took no longer.",
    responses={
        **problem_responses(
            HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE
        ),
        **NOT_READABLE,
    },
    openapi_extra={"parameters": [PREFER]},
)
async def reclassify_prediction(
    id: Id,
    request: Request,
    state: State,
    caller: CurrentCaller,
    wanted: Reclassification | None = None,
    model: Annotated[str, Query(description="Same as `model` in the body.")] = "",
) -> Response:
    """Classifies the stored image again with the given or the default model; the old result moves to the history.

    A person's correction stays the label; the model's new result is in `all_predictions`.
    """
    received_at = time.monotonic()
    chosen = await image_model(state.dispatch, wanted.model if wanted else model)
    prediction = await state.intake.reclassify(id, chosen)
    wait = wait_seconds(request, state.settings.max_wait_seconds)
    response = await prediction_response(prediction, state, HTTPStatus.ACCEPTED, wait=wait, received_at=received_at)
    return response if caller.may(Scope.READ) else no_content(response.background)
