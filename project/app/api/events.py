"""Status changes of predictions and trainings as server-sent events (HTML Living Standard, 9.2)."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from app.api.deps import AppState, OwnPrediction, State
from app.api.errors import PREDICTION_RESPONSES, Responses, problem_responses
from app.api.params import Id
from app.db.notifications import DELETED, FINISHED, POLL_SECONDS
from app.domain import DatabaseUnavailable, PredictionNotFound
from app.models.pydantic import PredictionRead

router = APIRouter(tags=["events"])

KEEP_ALIVE_SECONDS: Final = 15.0
"""Interval of comments that keep intermediaries from closing an idle connection."""
RECHECK_SECONDS: Final = 2.0
"""Interval at which the permission of a stream's client is checked again."""
KEEP_ALIVE: Final = ": \n\n"
HEADERS: Final = {
    "Cache-Control": "no-store",
    # nginx would otherwise buffer events.
    "X-Accel-Buffering": "no",
}
_STREAM: Final[Responses] = {
    200: {"description": "Events until the connection is closed", "content": {"text/event-stream": {"schema": {}}}}
}


@router.get(
    "/predictions/{id}/events/",
    summary="Follow a prediction",
    response_class=StreamingResponse,
    responses={**PREDICTION_RESPONSES, **_STREAM},
    dependencies=[OwnPrediction],
)
async def follow_prediction(id: Id, request: Request, state: State) -> StreamingResponse:
    """Sends an event `prediction` with the whole resource immediately and after every change, until it is finished.

    Sends `deleted` if the prediction was deleted.
    """
    first = state.read(await state.get_prediction(id))
    return StreamingResponse(
        _prediction_events(first, state, _Permission(request)), headers=HEADERS, media_type="text/event-stream"
    )


@router.get(
    "/events/",
    summary="Follow all predictions",
    response_class=StreamingResponse,
    responses={**problem_responses(), **_STREAM},
)
async def follow_all(request: Request, state: State) -> StreamingResponse:
    """Sends an event `prediction` with `id` and `status` for every change, `deleted` for deletions; never ends.

    Trainings of custom models send events `training`, with `id` and `status`.
    It ends within five seconds after the key is revoked.

    Sends `missed` if events were lost because the database connection broke or the client was too slow: read the list
    again.
    """
    return StreamingResponse(_all_events(state, _Permission(request)), headers=HEADERS, media_type="text/event-stream")


class _Permission:
    """The permission of a stream's client, which may end before the stream does."""

    def __init__(self, request: Request) -> None:
        self._is_still_allowed: Callable[[], Awaitable[bool]] = request.state.is_still_allowed
        self._checked_at = time.monotonic()

    async def holds(self) -> bool:
        """Whether the client may still read events, as of at most RECHECK_SECONDS ago."""
        if time.monotonic() - self._checked_at < RECHECK_SECONDS:
            return True
        self._checked_at = time.monotonic()
        return await self._is_still_allowed()


async def _prediction_events(first: PredictionRead, state: AppState, permission: _Permission) -> AsyncIterator[str]:
    sent: PredictionRead | None = None
    idle = 0.0
    with state.notifications.watch(first.id) as changed:
        while not state.notifications.stopping.is_set() and await permission.holds():
            changed.clear()
            try:
                current = state.read(await state.get_prediction(first.id))
            except PredictionNotFound:
                yield _event("deleted", json.dumps({"id": first.id}))
                return
            except DatabaseUnavailable:
                current = sent or first
            if current != sent:
                sent, idle = current, 0.0
                yield _event("prediction", current.model_dump_json())
            elif idle >= KEEP_ALIVE_SECONDS:
                idle = 0.0
                yield KEEP_ALIVE
            if current.status in FINISHED:
                return
            if not await state.notifications.wait_for(changed, POLL_SECONDS):
                idle += POLL_SECONDS


async def _all_events(state: AppState, permission: _Permission) -> AsyncIterator[str]:
    idle = 0.0
    with state.notifications.subscribe() as subscription:
        yield KEEP_ALIVE
        while not state.notifications.stopping.is_set() and await permission.holds():
            events = await subscription.next(RECHECK_SECONDS)
            idle = 0.0 if events or events is None else idle + RECHECK_SECONDS
            if events is None:
                yield _event("missed", "{}")
            elif events:
                yield "".join(
                    _event(
                        DELETED if event.status == DELETED else event.kind,
                        json.dumps({"id": event.id, "status": event.status}),
                    )
                    for event in events
                )
            elif idle >= KEEP_ALIVE_SECONDS:
                idle = 0.0
                yield KEEP_ALIVE


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
