"""Bodies about confidences: how often a model is right at each, and from which on its results are sure."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.models.pydantic import StorableStr

MAX_LABELS: Final = 1_000
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class ConfidenceBin(BaseModel):
    """Reviews of results with a confidence from `low` to below `high`."""

    low: float
    high: float
    reviews: int
    confidence: float | None = Field(description="Mean of the model's confidences; null without reviews.")
    calibrated: float | None = Field(description="Mean of the calibrated confidences.")
    accuracy: float | None = Field(description="Share of right labels.")


class ThresholdRead(BaseModel):
    """A confidence from which results are right as often as wanted."""

    wanted: float = Field(description="Share of right results that was asked for, 0..1.")
    sure_from: float | None = Field(description="The lowest such confidence; null if reviews show none.")
    precision: float | None = Field(description="Estimated share of right results from there on.")
    interval: list[float] | None = Field(description="Its 95 % interval.")
    reviews: int = Field(description="Reviews of results from there on.")
    unsure: float | None = Field(description="Share of the newest predictions that are less confident, 0..1.")


class CalibrationRead(BaseModel):
    """What reviews say about the confidences of a version of a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "mobilenet_v2",
                    "model_version": "802341c85b42",
                    "reviews": 240,
                    "correct": 180,
                    "missing_reviews": 0,
                    "temperature": 1.31,
                    "error_before": 0.0921,
                    "error_after": 0.0310,
                    "curve": [
                        {
                            "low": 0.9,
                            "high": 1.0,
                            "reviews": 90,
                            "confidence": 0.9713,
                            "calibrated": 0.9402,
                            "accuracy": 0.9444,
                        }
                    ],
                    "threshold": {
                        "wanted": 0.95,
                        "sure_from": 0.71,
                        "precision": 0.9512,
                        "interval": [0.9003, 0.9769],
                        "reviews": 123,
                        "unsure": 0.38,
                    },
                }
            ]
        },
        protected_namespaces=(),
    )

    model: str
    model_version: str
    reviews: int = Field(description="Reviewed results that were used, at most the newest 5,000.")
    correct: int = Field(description="Those of them whose best label is right.")
    missing_reviews: int = Field(
        description="How many more reviews a temperature needs at least: 100, with 10 right and 10 wrong labels."
    )
    temperature: float | None = Field(
        description="`calibrated_confidence` is the confidence with its logit divided by this: above 1 if the model is "
        "too confident. Null with too few reviews."
    )
    error_before: float | None = Field(
        description="Expected calibration error of the model's confidences: the mean distance from the accuracy in ten "
        "bins, 0..1, estimated for all predictions."
    )
    error_after: float | None = Field(
        description="The same of the calibrated confidences, for the reviews that the temperature was fitted to."
    )
    curve: list[ConfidenceBin] = Field(description="The reliability curve: accuracy by confidence.")
    threshold: ThresholdRead


class DecisionChoice(BaseModel):
    """From which confidence on a model's results are sure: a number, or a share of right results."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"precision": 0.95},
                {"sure_from": 0.6, "labels": {"tabby": 0.8}},
                {"sure_from": None},
            ]
        },
        extra="forbid",
    )

    sure_from: Share | None = Field(
        default=None, description="The confidence. Null, without `precision`: as in the model's manifest."
    )
    precision: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False, strict=True)] | None = Field(
        default=None,
        description="In place of `sure_from`: the share of sure results that are to be right; the confidence is chosen "
        "from reviews.",
    )
    labels: dict[Annotated[StorableStr, Field(min_length=1, max_length=255)], Share] = Field(
        default={}, max_length=MAX_LABELS, description="Other confidences for some labels."
    )

    @model_validator(mode="after")
    def _is_one_choice(self) -> Self:
        if self.sure_from is not None and self.precision is not None:
            raise ValueError("Choose either sure_from or precision.")
        if self.labels and self.sure_from is None and self.precision is None:
            raise ValueError("labels needs sure_from or precision.")
        return self


class DecisionRead(BaseModel):
    """From which confidence on a model's results are sure."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"sure_from": 0.71, "labels": {}, "precision": 0.95, "source": "chosen", "who": "anna"}]
        }
    )

    sure_from: float | None = Field(description="Null for custom models without a choice: these have no decision.")
    labels: dict[str, float] = Field(description="Other confidences for some labels.")
    precision: float | None = Field(description="Share of right results for which it was chosen from reviews.")
    source: Literal["model", "chosen"] = Field(description="Whether the model's manifest or a person decides.")
    who: str | None = Field(description="Name of the API key of the person.")
