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


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
