"""Typed results. Unknown fields are ignored, because the service may be newer."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

FINISHED = frozenset({"succeeded", "failed"})


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the model's confidence in it, 0..1."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """An uploaded image and the model's result. ``status``: pending, processing, succeeded or failed."""

    id: int
    filename: str
    status: str
    top_prediction: str | None
    confidence: float | None
    labels: list[Label]
    model: str
    model_version: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    cached: bool
    error_code: str | None
    error_message: str | None
    created_at: datetime
    completed_at: datetime | None
    corrected_at: datetime | None
    verdict: str | None
    """confirmed or corrected by a person; None if nobody has reviewed it."""
    categories: list[Label]
    """Each with the sum of the confidences of its labels; empty if the model's labels have none."""
    decision: str | None
    """sure or unsure; None for custom models, unless a threshold was chosen for them."""
    calibrated_confidence: float | None
    """How likely the label is right according to reviews, 0..1; None with too few of them."""

    @property
    def is_finished(self) -> bool:
        """Whether the prediction has succeeded or failed."""
        return self.status in FINISHED

    @classmethod
    def of(cls, resource: dict[str, Any]) -> Self:
        """From the service's JSON."""
        error = resource.get("error") or {}
        return cls(
            **{
                name: resource[name]
                for name in (
                    *("id", "filename", "status", "top_prediction", "confidence", "model", "model_version"),
                    *("width", "height", "size_bytes", "sha256"),
                )
            },
            labels=[Label(score["label"], score["confidence"]) for score in resource["all_predictions"] or []],
            cached=resource.get("cached", False),
            error_code=error.get("code"),
            error_message=error.get("message"),
            created_at=datetime.fromisoformat(resource["created_at"]),
            completed_at=_time(resource["completed_at"]),
            corrected_at=_time(resource["corrected_at"]),
            verdict=resource.get("verdict"),
            # Services before this field do not send it.
            categories=[Label(one["name"], one["confidence"]) for one in resource.get("categories") or []],
            decision=resource.get("decision"),
            calibrated_confidence=resource.get("calibrated_confidence"),
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A model. ``kind``: image or tabular."""

    name: str
    kind: str
    version: str
    default: bool
    labels: int

    @classmethod
    def of(cls, resource: dict[str, Any]) -> Self:
        """From the service's JSON."""
        return cls(**{name: resource[name] for name in ("name", "kind", "version", "default", "labels")})


@dataclass(frozen=True, slots=True)
class CustomModel:
    """A model that learns your own labels."""

    name: str
    base: str
    labels: dict[str, int]
    """Labels, and the number of examples to learn from."""
    version: int | None
    """Number of the version that is served; None before the first training."""

    @classmethod
    def of(cls, resource: dict[str, Any]) -> Self:
        """From the service's JSON."""
        labels = {one["label"]: one["learn"] for one in resource["labels"]}
        return cls(resource["name"], resource["base"], labels, resource["version"])


@dataclass(frozen=True, slots=True)
class Example:
    """What became of an image that was to be an example; ``label`` is None if it was refused.

    ``filename`` is empty for examples that were there already.
    """

    filename: str
    label: str | None
    prediction_id: int | None
    error: str | None

    @classmethod
    def of(cls, resource: dict[str, Any]) -> Self:
        """From the service's JSON."""
        example, error = resource["example"] or {}, resource["error"] or {}
        return cls(resource["filename"], example.get("label"), example.get("prediction_id"), error.get("message"))


@dataclass(frozen=True, slots=True)
class Training:
    """A training of a custom model. ``status``: pending, processing, succeeded or failed."""

    id: int
    status: str
    version: int | None
    served: bool
    decision: str | None
    metrics: dict[str, Any]
    """Results of cross-validation: accuracy, accuracy_interval, labels, confusion, other."""
    error: str | None

    @property
    def is_finished(self) -> bool:
        """Whether the training has succeeded or failed."""
        return self.status in FINISHED

    @classmethod
    def of(cls, resource: dict[str, Any]) -> Self:
        """From the service's JSON."""
        error = (resource["error"] or {}).get("message")
        names = ("id", "status", "version", "served", "decision")
        return cls(**{name: resource[name] for name in names}, metrics=resource["metrics"] or {}, error=error)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
