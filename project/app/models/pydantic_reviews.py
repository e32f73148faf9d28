"""Bodies about reviews, each with an example."""

from datetime import date, datetime
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain import MAX_ID, Verdict
from app.models.pydantic import EXAMPLE_PREDICTION, PredictionError, PredictionRead, StorableStr

MAX_REVIEWED: Final = 10_000
"""Predictions in one request."""


class ReviewFilter(BaseModel):
    """Which predictions to review; all conditions must match, and there must be one."""

    model_config = ConfigDict(extra="forbid")

    model: StorableStr = Field(default="", description="Only predictions of this model.")
    label: StorableStr = Field(default="", description="Only predictions with exactly this top label.")
    min_confidence: float | None = Field(default=None, ge=0, le=1)
    max_confidence: float | None = Field(default=None, ge=0, le=1)
    q: StorableStr = Field(
        default="", description="Only predictions whose label or file name contains all of these words or prefixes."
    )

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if self == ReviewFilter.model_construct():
            raise ValueError("A filter needs at least one condition.")
        return self


class ReviewRequest(BaseModel):
    """What a person says of predictions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"ids": [1, 2], "verdict": "confirmed"},
                {"ids": [3], "verdict": "corrected", "label": "tabby"},
                {"filter": {"label": "tiger_cat", "min_confidence": 0.9}, "verdict": "confirmed"},
                {"ids": [1, 2], "verdict": None},
            ]
        },
        extra="forbid",
    )

    ids: list[Annotated[int, Field(strict=True, gt=0, le=MAX_ID)]] | None = Field(
        default=None, min_length=1, max_length=MAX_REVIEWED, description="IDs of predictions."
    )
    filter: ReviewFilter | None = Field(
        default=None,
        description=f"In place of `ids`: the first {MAX_REVIEWED:,} predictions that match and are not reviewed yet, "
        "without the random sample; with `verdict: null`, those that are reviewed.",
    )
    verdict: Verdict | None = Field(
        description="`confirmed`: the model's own label is right. `corrected`: `label` is. null: undo, so that "
        "`top_prediction` is the model's own label again."
    )
    label: StorableStr | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="With `corrected`. `other` if no label of the model fits.",
    )
    new_label: bool = Field(default=False, description="Custom models get the label if they lack it.")
    sampled: bool = Field(
        default=False, description="The predictions were shown as part of the random sample (`sampled` of `GET`)."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("Send either ids or filter.")
        if (self.verdict is Verdict.CORRECTED) != (self.label is not None):
            raise ValueError("Send a label with the verdict corrected, and only with it.")
        if self.sampled and self.filter:
            raise ValueError("Send sampled only with ids.")
        return self


class ReviewSkipped(BaseModel):
    """A prediction that was not reviewed, and why."""

    id: int
    error: PredictionError


class ReviewResult(BaseModel):
    """What was reviewed, in one transaction."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "reviewed": 2,
                    "ids": [1, 2],
                    "skipped": [
                        {"id": 7, "error": {"code": "prediction_not_found", "message": "Prediction not found"}}
                    ],
                    "remaining": 0,
                    "not_learned": [],
                }
            ]
        }
    )

    reviewed: int
    ids: list[int] = Field(description="IDs of the predictions that changed.")
    skipped: list[ReviewSkipped]
    remaining: int = Field(description="Number of predictions that match the filter and are left: send it again.")
    not_learned: list[ReviewSkipped] = Field(
        default=[],
        description="Reviewed predictions that became no examples of their custom model: it lacks the label, or the "
        "same image is an example of another one.",
    )


class Share(BaseModel):
    """How many of some reviewed results were right."""

    reviewed: int
    correct: int
    accuracy: float | None = Field(description="0..1; null without reviews.")
    interval: list[float] = Field(description="Bounds of the 95 % interval.")


_EXAMPLE_SHARE: Final[dict[str, Any]] = {
    "reviewed": 200,
    "correct": 150,
    "accuracy": 0.75,
    "interval": [0.6857, 0.8050],
}
_EXAMPLE_VERSION: Final[dict[str, Any]] = {
    "model": "mobilenet_v2",
    "model_version": "802341c85b42",
    "all": _EXAMPLE_SHARE,
    "sample": {"reviewed": 40, "correct": 34, "accuracy": 0.85, "interval": [0.7093, 0.9294]},
    "last_result_at": "2026-11-27T09:00:00.000000Z",
}


class VersionAccuracyRead(BaseModel):
    """Accuracy of a version of a model, according to reviews."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_VERSION]}, protected_namespaces=())

    model: str
    model_version: str
    all: Share = Field(
        description="Of all reviews. The least certain results are reviewed first, so this is usually too low."
    )
    sample: Share = Field(
        description="Of the random sample: an estimate for all results, if all of the sample is reviewed."
    )
    last_result_at: datetime = Field(description="When the version classified a reviewed image last.")


class LabelAccuracyRead(BaseModel):
    """Accuracy of a label."""

    label: str
    reviewed: int = Field(description="Reviewed images with this label.")
    precision: float | None = Field(description="Share of images classified as this label that have it.")
    recall: float | None = Field(description="Share of images with this label that are classified as it.")


class ConfusionRead(BaseModel):
    """A wrong label."""

    actual: str = Field(description="The true label.")
    predicted: str = Field(description="The model's label.")
    count: int


class DayAccuracyRead(BaseModel):
    """Accuracy of a day's results."""

    day: date = Field(description="In UTC.")
    reviewed: int
    correct: int


class AccuracyRead(VersionAccuracyRead):
    """Accuracy of a version of a model in detail."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_EXAMPLE_VERSION,
                    "labels": [{"label": "tabby", "reviewed": 40, "precision": 0.9, "recall": 0.675}],
                    "confusions": [{"actual": "tabby", "predicted": "tiger_cat", "count": 11}],
                    "days": [{"day": "2026-11-27", "reviewed": 200, "correct": 150}],
                }
            ]
        },
        protected_namespaces=(),
    )

    labels: list[LabelAccuracyRead] = Field(description="The most frequent first.")
    confusions: list[ConfusionRead] = Field(description="The 100 most frequent ones.")
    days: list[DayAccuracyRead] = Field(description="The last 90 days, without those without reviews.")


class ReviewItem(BaseModel):
    """A prediction to review."""

    prediction: PredictionRead
    sampled: bool = Field(description="Part of the random sample, from which accuracy is estimated.")


class ReviewQueue(BaseModel):
    """Predictions to review next."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"remaining": 120, "items": [{"prediction": EXAMPLE_PREDICTION, "sampled": False}]}]
        }
    )

    remaining: int = Field(description="Number of predictions that nobody has reviewed.")
    items: list[ReviewItem]
