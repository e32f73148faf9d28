"""The page about a model's accuracy according to reviews."""

from contextlib import suppress
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from app.api.accuracy import list_accuracy, read_accuracy
from app.api.confidence import PRECISION, read_calibration, read_decision
from app.api.deps import State
from app.domain import ModelUnknown, NoWorkerYet
from app.models.pydantic import StorableStr
from app.pages.errors import PageRoute
from app.pages.rendering import page

router = APIRouter(include_in_schema=False, route_class=PageRoute)

SHOWN_LABELS: Final = 100
SHOWN_CONFUSIONS: Final = 30
SHOWN_DAYS: Final = 30
PRECISIONS: Final = (0.8, 0.9, 0.95, 0.98, 0.99)
"""Shares of right results to choose from."""


@router.get("/statistics/accuracy/{name}/")
async def show_accuracy(
    request: Request,
    state: State,
    name: Annotated[StorableStr, Path()],
    version: Annotated[StorableStr, Query()] = "",
    precision: Annotated[float, Query(gt=0, lt=1, allow_inf_nan=False)] = PRECISION,
) -> Response:
    """Accuracy of a version by label, by day and by confidence, and which labels are mistaken for which."""
    read = await read_accuracy(name, version)
    decision, is_current = None, False
    # A model that has been removed decides nothing any more, and without workers there may be none.
    with suppress(ModelUnknown, NoWorkerYet):
        decision = await read_decision(name, state)
        is_current = (await state.dispatch.image_model(name)).version == read.model_version
    return page(
        request,
        "accuracy.html",
        read=read,
        versions=[one.model_version for one in await list_accuracy(name)],
        labels=read.labels[:SHOWN_LABELS],
        confusions=read.confusions[:SHOWN_CONFUSIONS],
        days=read.days[-SHOWN_DAYS:],
        calibration=await read_calibration(name, state, read.model_version, precision),
        precisions=sorted({*PRECISIONS, precision}),
        decision=decision,
        is_current=is_current,
    )
