"""Bodies about the service and its models, each with an example."""

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
    """An error as an RFC 9457 problem document; ``detail`` is a plain sentence."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ERROR]})

    type: str
    title: str
    status: int
    detail: str
    code: str | None = Field(default=None, description="Stable error code, if there is one.")
    reason: str | None = Field(
        default=None, description="What an uploaded file is instead of an image, and what to do, if that is known."
    )


class Pong(BaseModel):
    """Response of the ping endpoint."""

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
    """Whether predictions can be accepted and made; each part is ``ok`` or says what is wrong."""

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
    notes: list[str] = Field(default=[], description="Notes for the operator that do not affect readiness.")


class FeatureRead(BaseModel):
    """A feature of a tabular model: a number with inclusive bounds."""

    name: str
    unit: str
    minimum: float | None
    maximum: float | None
    default: float = Field(description="Value used if a row omits the feature.")
    description: str


class ModelRead(BaseModel):
    """A usable model, or a broken model folder with the reason."""

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
                    "base": None,
                    "sure_from": 0.4,
                }
            ]
        }
    )

    name: str = Field(description="Name of the model in requests; the folder's name if the model is broken.")
    status: Literal["ok", "broken"]
    error: str | None = Field(default=None, description="Why the model is broken.")
    kind: Literal["image", "tabular"] | None = None
    version: str | None = Field(
        default=None, description="Identifies weights, labels and preprocessing; stored with every prediction."
    )
    default: bool = Field(default=False, description="Whether uploads use it if they name no model.")
    loaded: bool = Field(default=False, description="Whether it is in memory; other models are loaded on first use.")
    runtime: str | None = None
    precision: Literal["fp32", "bf16", "int8"] | None = None
    labels: int | None = Field(default=None, description="Number of labels.")
    input_shape: list[int] | None = Field(default=None, description="Image models: height, width, channels.")
    features: list[FeatureRead] | None = Field(default=None, description="Tabular models: the features of a row.")
    note: str | None = Field(default=None, description="Why it is the default, or a warning about it.")
    base: str | None = Field(default=None, description="Custom models: the model from whose embeddings it learned.")
    sure_from: float | None = Field(
        default=None, description="Image models: confidence from which the manifest says that results are sure."
    )


class DefaultModel(BaseModel):
    """The model that classifies uploads that name none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "mobilenet_v2"}]}, extra="forbid")

    name: str | None = Field(
        min_length=1,
        max_length=64,
        description="Name of an image model from /models; null for the one that MODEL selects.",
    )


class DefaultModelRead(BaseModel):
    """The default model, and the choice before."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "mobilenet_v2", "previous": None}]})

    name: str = Field(description="Name of the model that is the default now.")
    previous: str | None = Field(description="The name that was chosen before; null if there was none.")


class LabelRead(BaseModel):
    """A label, and what people call it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "label": "Egyptian_cat",
                    "id": "n02124075",
                    "names": {"en": "Egyptian Mau", "de": "Ägyptische Mau"},
                    "synonyms": ["Egyptian cat"],
                    "categories": ["animal", "mammal", "cat"],
                }
            ]
        }
    )

    label: str = Field(description="As in predictions.")
    id: str | None = Field(description="Identifier, such as the WordNet synset.")
    names: dict[str, str] = Field(description="Names for people by language.")
    synonyms: list[str]
    categories: list[str] = Field(description="The categories that it belongs to, the broadest first.")


class CategoryRead(BaseModel):
    """A category of labels."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "ape",
                    "parent": "primate",
                    "names": {"en": "ape", "de": "Menschenaffe"},
                    "labels": ["gorilla"],
                }
            ]
        }
    )

    name: str = Field(description="As in predictions.")
    parent: str | None = Field(description="The broader category.")
    names: dict[str, str] = Field(description="Names for people by language.")
    labels: list[str] = Field(description="The labels in it and in narrower categories.")


class Info(BaseModel):
    """Names only: of the models, and of images that can be classified again (the newest 500)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"models": ["mobilenet_v2"], "images": [EXAMPLE_PREDICTION["image_path"]]}]}
    )

    models: list[str]
    images: list[str]
