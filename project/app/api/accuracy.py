"""Routes for the accuracy of models, which reviews measure."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.api.errors import problem_responses
from app.classifier.heads.metrics import DIGITS, ratio
from app.classifier.intervals import wilson_interval
from app.db.crud import accuracy
from app.db.crud.accuracy import VersionAccuracy
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


@router.get(
    "/accuracy",
    summary="List accuracy by model and version",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_accuracy(
    model: Annotated[StorableStr, Query(description="Only of this model.")] = "",
) -> list[VersionAccuracyRead]:
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
                precision=ratio(one.correct, one.predicted),
                recall=ratio(one.correct, one.reviewed),
            )
            for one in labels
        ],
        confusions=[ConfusionRead(actual=one.actual, predicted=one.predicted, count=one.count) for one in confusions],
        days=[DayAccuracyRead(day=one.day, reviewed=one.reviewed, correct=one.correct) for one in days],
    )


def _read(row: VersionAccuracy) -> VersionAccuracyRead:
    return VersionAccuracyRead(
        model=row.model,
        model_version=row.model_version,
        all=_share(row.reviewed, row.correct),
        sample=_share(row.sampled, row.sampled_correct),
        last_result_at=row.last_result_at,
    )


def _share(reviewed: int, correct: int) -> Share:
    interval = [round(bound, DIGITS) for bound in wilson_interval(correct, reviewed)]
    return Share(reviewed=reviewed, correct=correct, accuracy=ratio(correct, reviewed), interval=interval)
