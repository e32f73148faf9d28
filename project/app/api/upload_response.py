"""Responses about a submitted or repeated classification."""

import contextlib
import time
from http import HTTPStatus
from typing import Final

from fastapi import Request, Response
from starlette.background import BackgroundTask

from app.api.deps import AppState
from app.api.errors import Responses
from app.db.crud import idempotency
from app.db.crud.idempotency import Replay
from app.domain import DatabaseUnavailable, PredictionNotFound, Status
from app.models.tortoise import Prediction
from app.uploads.intake import Submission

NOT_READABLE: Final[Responses] = {
    HTTPStatus.NO_CONTENT.value: {"description": "Done. The key lacks the scope `read`, so nothing is returned."}
}


def no_content(background: BackgroundTask | None = None) -> Response:
    """The response to a successful change for a caller that may not read its result."""
    return Response(status_code=HTTPStatus.NO_CONTENT, background=background)


async def respond(request: Request, state: AppState, submission: Submission, wait: int | None) -> Response:
    """The response to an upload: 201 with the prediction, after ``wait`` seconds at most if the client waits."""
    if isinstance(submission.outcome, Replay):
        return await _respond_to_replay(request, state, submission.outcome, wait, submission.received_at)
    prediction = submission.outcome
    response = await prediction_response(
        prediction, state, HTTPStatus.CREATED, wait=wait, received_at=submission.received_at
    )
    response.headers["Location"] = _location(request, prediction.id)
    if submission.claim:
        with contextlib.suppress(DatabaseUnavailable):
            await idempotency.save_response(submission.claim, bytes(response.body).decode())
    return response


async def prediction_response(
    prediction: Prediction, state: AppState, status: HTTPStatus, *, wait: int | None, received_at: float
) -> Response:
    """The prediction: immediately, with its classification following, or after the client's wait."""
    if wait is None:
        call = state.dispatch.after_response(prediction)
        return _json_response(prediction, state, status, BackgroundTask(call) if call else None)
    if prediction.status == Status.PENDING:
        finished = await state.dispatch.wait_until_finished(prediction, received_at + wait - time.monotonic())
        # The upload is accepted even if the database fails now: an error would make clients repeat it.
        with contextlib.suppress(DatabaseUnavailable, PredictionNotFound):
            prediction = finished or await state.get_prediction(prediction.id)
    response = _json_response(prediction, state, status)
    response.headers["Preference-Applied"] = f"wait={wait}"
    return response


async def current_or_stored(replay: Replay, state: AppState) -> Prediction | str:
    """The prediction of a replay as it is now; its first response if it was deleted.

    Raises PredictionNotFound if there is neither.
    """
    try:
        return await state.get_prediction(replay.prediction_id)
    except PredictionNotFound:
        if replay.response is None:
            raise
        return replay.response


async def _respond_to_replay(
    request: Request, state: AppState, replay: Replay, wait: int | None, received_at: float
) -> Response:
    """The first response again; a client that waits gets the prediction as it is now."""
    is_stored = wait is None and replay.response is not None
    outcome = str(replay.response) if is_stored else await current_or_stored(replay, state)
    if isinstance(outcome, str):
        response = Response(outcome, HTTPStatus.CREATED, media_type="application/json")
    else:
        response = await prediction_response(outcome, state, HTTPStatus.CREATED, wait=wait, received_at=received_at)
    response.headers["Location"] = _location(request, replay.prediction_id)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _location(request: Request, prediction_id: int) -> str:
    return f"{request.scope.get('root_path', '')}/predictions/{prediction_id}/"


def _json_response(
    prediction: Prediction, state: AppState, status: HTTPStatus, background: BackgroundTask | None = None
) -> Response:
    body = state.read(prediction).model_dump_json()
    return Response(body, status, media_type="application/json", background=background)
