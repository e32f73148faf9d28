"""The bodies of what the service says of itself and its models, with an example of each."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.models.pydantic import EXAMPLE_PREDICTION

EXAMPLE_ERROR: dict[str, Any] = {
    "type": "about:blank",
    "title": "Not Found",
    "status": 404,
    "detail": "Prediction not found",
}


class Problem(BaseModel):
    """An error, as RFC 9457 describes it; ``detail`` is a plain sentence."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ERROR]})

    type: str
    title: str
    status: int
    detail: str
    code: str | None = Field(default=None, description="Stable name of the error, where there is one.")


class Ping(BaseModel):
    """A sign of life."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ping": "pong", "environment": "dev", "testing": False}]}
    )

    ping: Literal["pong"] = "pong"
    environment: str
    testing: bool


class Health(BaseModel):
    """The process is alive."""

    status: Literal["healthy"] = "healthy"


class Ready(BaseModel):
    """Whether predictions can be taken and made, part by part: ``ok`` or what is wrong."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"status": "ready", "database": "ok", "storage": "ok", "model": "ok", "worker": "ok", "notes": []},
            ]
        }
    )

    status: Literal["ready", "not ready"]
    database: str
    storage: str
    model: str
    worker: str
    notes: list[str] = Field(default=[], description="What an operator should know, although all works.")


class FeatureRead(BaseModel):
    """A feature of a tabular model: a number within its bounds, which are inclusive."""

    name: str
    unit: str
    minimum: float | None
    maximum: float | None
    default: float = Field(description="Taken where a row leaves the feature out.")
    description: str


class ModelRead(BaseModel):
    """A model of the registry, or a folder that should hold one and does not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "mobilenet_v2",
                    "status": "ok",
                    "error": None,
                    "kind": "image",
                    "version": "802341c85b42",
                    "default": True,
                    "loaded": True,
                    "runtime": "litert",
                    "precision": "fp32",
                    "labels": 1000,
                    "input_shape": [224, 224, 3],
                    "features": None,
                    "note": None,
                }
            ]
        }
    )

    name: str = Field(description="What uploads call it; the folder's name where it is broken.")
    status: Literal["ok", "broken"]
    error: str | None = Field(default=None, description="What is wrong with a broken one.")
    kind: Literal["image", "tabular"] | None = None
    version: str | None = Field(default=None, description="Identifies the weights; kept in every row.")
    default: bool = Field(default=False, description="Used where an upload names no model.")
    loaded: bool = Field(default=False, description="In memory; others are loaded when they are used.")
    runtime: str | None = None
    precision: Literal["fp32", "int8"] | None = None
    labels: int | None = Field(default=None, description="How many labels it knows.")
    input_shape: list[int] | None = Field(default=None, description="Of an image model: height, width, channels.")
    features: list[FeatureRead] | None = Field(default=None, description="Of a tabular model: what a row consists of.")
    note: str | None = None


class Info(BaseModel):
    """Names only: of the models, and of images that can be classified again (the newest 500)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"models": ["mobilenet_v2"], "images": [EXAMPLE_PREDICTION["image_path"]]}]}
    )

    models: list[str]
    images: list[str]
