"""Bodies about the comparison of a second model with the default one."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from app.models.pydantic import StorableStr

_PAIRED: Final[dict[str, Any]] = {
    "reviewed": 200,
    "both_right": 150,
    "only_default_right": 8,
    "only_shadow_right": 24,
    "both_wrong": 18,
    "difference": 0.08,
    "interval": [0.0246, 0.1339],
    "p_value": 0.007,
}


class ShadowStart(BaseModel):
    """The model to compare with the default one, and the share of the uploads."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "efficientnet_lite0", "share": 0.1}]}, extra="forbid"
    )

    model: Annotated[StorableStr, Field(min_length=1, max_length=64)] = Field(
        description="Name of an image model from /models that is not the default."
    )
    share: float = Field(
        default=0.1,
        ge=0.0001,
        le=1,
        allow_inf_nan=False,
        strict=True,
        description="Share of the uploads, up to 1 for all.",
    )


class PairedResults(BaseModel):
    """Reviewed images that both models have classified."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PAIRED]})

    reviewed: int
    both_right: int
    only_default_right: int
    only_shadow_right: int
    both_wrong: int
    difference: float | None = Field(
        description="By how much the shadow model is right more often, -1..1; null without reviews."
    )
    interval: list[float] | None = Field(description="Bounds of the 95 % interval of the difference.")
    p_value: float | None = Field(
        description="How likely a difference at least as large is by chance (exact test of McNemar)."
    )


class DifferentLabels(BaseModel):
    """How often the models gave a pair of different labels."""

    default_label: str
    shadow_label: str
    count: int


class ShadowRead(BaseModel):
    """The comparison of a second model with the default one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "efficientnet_lite0",
                    "model_version": "3f1c5d7e9b2a",
                    "share": 0.1,
                    "running": True,
                    "paused": False,
                    "started_at": "2026-11-28T09:00:00.000000Z",
                    "ended_at": None,
                    "started_by": "anna",
                    "default_model": "mobilenet_v2",
                    "default_version": "802341c85b42",
                    "compared": 1200,
                    "same": 1010,
                    "failed": 0,
                    "all": _PAIRED,
                    "sample": _PAIRED,
                    "different": [{"default_label": "tabby", "shadow_label": "tiger_cat", "count": 31}],
                }
            ]
        },
        protected_namespaces=(),
    )

    model: str
    model_version: str | None = Field(description="Of the newest result; the counts are of these versions.")
    share: float
    running: bool
    paused: bool = Field(description="Whether the model is the default now, so that nothing is compared.")
    started_at: datetime
    ended_at: datetime | None
    started_by: str
    default_model: str | None
    default_version: str | None
    compared: int = Field(description="Images that both models have classified.")
    same: int = Field(description="Those of them with the same best label.")
    failed: int = Field(description="Images that the shadow model could not classify.")
    all: PairedResults
    sample: PairedResults = Field(
        description="Only the random sample of reviews, which represents all images; people review uncertain results "
        "of the default model more often."
    )
    different: list[DifferentLabels] = Field(description="The most frequent different labels.")
