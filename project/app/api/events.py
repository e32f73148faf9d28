"""Status changes of predictions as server-sent events (HTML Living Standard, 9.2)."""

import json
from collections.abc import AsyncIterator
from typing import Final

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.api.deps import Running, Runtime
from app.api.errors import Responses, problem_responses
from app.api.predictions import ONE_RESPONSES, Id
from app.domain import DatabaseUnavailable, PredictionNotFound
from app.models.pydantic import PredictionRead
from app.notices import DELETED, FINISHED, LOOK_SECONDS

router = APIRouter(tags=["predictions"])

KEEP_ALIVE_SECONDS: Final = 15.0
"""Interval of comments that keep intermediaries from closing an idle connection."""
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
    responses={**ONE_RESPONSES, **_STREAM},
)
async def follow_prediction(id: Id, runtime: Running) -> StreamingResponse:
    """Sends an event `prediction` with the whole resource immediately and after every change, until it is finished.

    Sends `deleted` if the prediction was deleted.
    """
    first = PredictionRead.of(await runtime.get(id))
    return StreamingResponse(_of_one(first, runtime), headers=HEADERS, media_type="text/event-stream")


@router.get(
    "/events/",
    summary="Follow all predictions",
    response_class=StreamingResponse,
    responses={**problem_responses(), **_STREAM},
)
async def follow_all(runtime: Running) -> StreamingResponse:
    """Sends an event `prediction` with `id` and `status` for every change, `deleted` for deletions; never ends.

    Sends `missed` if events were lost because the database connection broke or the client was too slow: read the list
    again.
    """
    return StreamingResponse(_of_all(runtime), headers=HEADERS, media_type="text/event-stream")


async def _of_one(first: PredictionRead, runtime: Runtime) -> AsyncIterator[str]:
    told: PredictionRead | None = None
    quiet = 0.0
    with runtime.notices.watch(first.id) as changed:
        while not runtime.notices.ended.is_set():
            changed.clear()
            try:
                now = PredictionRead.of(await runtime.get(first.id))
            except PredictionNotFound:
                yield _event("deleted", json.dumps({"id": first.id}))
                return
            except DatabaseUnavailable:
                now = told or first
            if now != told:
                told, quiet = now, 0.0
                yield _event("prediction", now.model_dump_json())
            elif quiet >= KEEP_ALIVE_SECONDS:
                quiet = 0.0
                yield KEEP_ALIVE
            if now.status in FINISHED:
                return
            if not await runtime.notices.wait_for(changed, LOOK_SECONDS):
                quiet += LOOK_SECONDS


async def _of_all(runtime: Runtime) -> AsyncIterator[str]:
    with runtime.notices.feed() as feed:
        yield KEEP_ALIVE
        while not runtime.notices.ended.is_set():
            changes = await feed.next(KEEP_ALIVE_SECONDS)
            if changes is None:
                yield _event("missed", "{}")
            elif changes:
                yield "".join(
                    _event(
                        DELETED if change.status == DELETED else "prediction",
                        json.dumps({"id": change.id, "status": change.status}),
                    )
                    for change in changes
                )
            else:
                yield KEEP_ALIVE


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
