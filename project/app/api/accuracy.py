"""Routes about accuracy according to reviews, and the export of what people have labelled."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from app.api.deps import CurrentCaller, State
from app.api.errors import problem_responses
from app.api.labelled_files import csv_lines, zip_parts
from app.api.middleware.trailing_slash import refuse_other_methods
from app.classifier.heads.metrics import share_with_interval
from app.db.crud import accuracy, audit_log
from app.db.crud.accuracy import LabelledImage, VersionAccuracy
from app.domain import VersionUnknown
from app.models.pydantic import StorableStr
from app.models.pydantic_reviews import (
    AccuracyRead,
    ConfusionRead,
    DayAccuracyRead,
    LabelAccuracyRead,
    Share,
    VersionAccuracyRead,
)

router = APIRouter(tags=["reviews"])

_TYPES: Final = {"zip": "application/zip", "csv": "text/csv; charset=utf-8"}
_ModelFilter = Annotated[StorableStr, Query(description="Only of this model.")]


@router.get(
    "/accuracy",
    summary="List accuracy by model and version",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_accuracy(model: _ModelFilter = "") -> list[VersionAccuracyRead]:
    """Lists how often each version of a model gave the label that people say is right.

    A person's label counts for all models that have classified the image.
    """
    return [_read(row) for row in await accuracy.by_version(model or None)]


@router.get(
    "/models/{name}/accuracy",
    summary="Read a model's accuracy",
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def read_accuracy(
    name: Annotated[StorableStr, Path(description="Name of a model.")],
    version: Annotated[
        StorableStr, Query(description="Its version; by default the one of the newest reviewed result.")
    ] = "",
) -> AccuracyRead:
    """Returns accuracy by label and by day, and which labels are mistaken for which."""
    rows = await accuracy.by_version(name)
    row = next((one for one in rows if version in {"", one.model_version}), None)
    if row is None:
        which = f"version {version} of {name!r}" if version else f"the model {name!r}"
        raise VersionUnknown(f"There are no reviews of {which}.")
    labels, confusions, days = await asyncio.gather(
        accuracy.by_label(name, row.model_version),
        accuracy.confusions(name, row.model_version),
        accuracy.by_day(name, row.model_version),
    )
    return AccuracyRead(
        **dict(_read(row)),
        labels=[
            LabelAccuracyRead(
                label=one.label,
                reviewed=one.reviewed,
                precision=round(one.correct / one.predicted, 4) if one.predicted else None,
                recall=round(one.correct / one.reviewed, 4) if one.reviewed else None,
            )
            for one in labels
        ],
        confusions=[ConfusionRead(actual=one.actual, predicted=one.predicted, count=one.count) for one in confusions],
        days=[DayAccuracyRead(day=one.day, reviewed=one.reviewed, correct=one.correct) for one in days],
    )


@router.get(
    "/predictions/labelled/",
    summary="Export everything that people have labelled",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A file",
            "content": {
                "application/zip": {"schema": {"type": "string", "format": "binary"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        **problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
async def export_labelled(
    state: State,
    caller: CurrentCaller,
    format: Annotated[
        Literal["zip", "csv"], Query(description="`zip`: images in a folder for each label; `csv`: labels alone.")
    ] = "zip",
    model: _ModelFilter = "",
) -> StreamingResponse:
    """Streams reviewed predictions and examples of custom models with their labels.

    The ZIP file has the layout that training tools read (ImageFolder), and a list of all images, `labels.csv`.
    """
    groups = accuracy.labelled(model or None)
    # Reads the first rows before sending anything, so that errors get their own status.
    first: list[LabelledImage] = await anext(groups, [])
    await audit_log.record("predictions.exported", caller, details={"format": f"labelled {format}", "model": model})
    parts = zip_parts(first, groups, state.storage) if format == "zip" else csv_lines(first, groups)
    headers = {"Content-Disposition": f'attachment; filename="labelled.{format}"', "X-Accel-Buffering": "no"}
    return StreamingResponse(parts, headers=headers, media_type=_TYPES[format])


def _read(row: VersionAccuracy) -> VersionAccuracyRead:
    return VersionAccuracyRead(
        model=row.model,
        model_version=row.model_version,
        all=_share(row.reviewed, row.correct),
        sample=_share(row.sampled, row.sampled_correct),
        last_result_at=row.last_result_at,
    )


def _share(reviewed: int, correct: int) -> Share:
    share = share_with_interval(correct, reviewed)
    return Share(reviewed=reviewed, correct=correct, accuracy=share["accuracy"], interval=share["accuracy_interval"])


refuse_other_methods(router, "/predictions/labelled/", "GET")
