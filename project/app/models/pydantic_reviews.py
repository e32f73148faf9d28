"""Bodies about reviews, each with an example."""

from typing import Annotated, Final, Self

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
        description=f"In place of `ids`: the first {MAX_REVIEWED:,} predictions that match and are not reviewed yet; "
        "with `verdict: null`, those that are.",
    )
    verdict: Verdict | None = Field(
        description="`confirmed`: the model's own label is right. `corrected`: `label` is. null: undo, so that the "
        "model's own label is the headline again."
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
                }
            ]
        }
    )

    reviewed: int
    ids: list[int] = Field(description="IDs of the predictions that changed.")
    skipped: list[ReviewSkipped]
    remaining: int = Field(description="Number of predictions that match the filter and are left: send it again.")


class ReviewItem(BaseModel):
    """A prediction to review."""

    prediction: PredictionRead
    sampled: bool = Field(description="Part of the random sample, from which accuracy is estimated without bias.")


class ReviewQueue(BaseModel):
    """Predictions to review next."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"remaining": 120, "items": [{"prediction": EXAMPLE_PREDICTION, "sampled": False}]}]
        }
    )

    remaining: int = Field(description="Number of predictions that nobody has reviewed.")
    items: list[ReviewItem]
