"""Bodies of uploads and predictions, each with an example."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.domain import Decision, Status, Verdict
from app.models.tortoise import Prediction

EXAMPLE_PREDICTION: dict[str, Any] = {
    "id": 1,
    "filename": "cat.jpg",
    "image_path": "2026/11/21/0b9c1a3d5e7f4a6b8c0d1e2f3a4b5c6d.jpg",
    "content_type": "image/jpeg",
    "size_bytes": 69125,
    "width": 400,
    "height": 279,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "status": "succeeded",
    "top_prediction": "Egyptian_cat",
    "confidence": 0.914286,
    "all_predictions": [
        {"label": "Egyptian_cat", "confidence": 0.914286},
        {"label": "tabby", "confidence": 0.048112},
        {"label": "tiger_cat", "confidence": 0.021345},
        {"label": "lynx", "confidence": 0.004021},
        {"label": "Siamese_cat", "confidence": 0.000913},
    ],
    "model": "mobilenet_v2",
    "model_version": "802341c85b42",
    "error": None,
    "attempts": 1,
    "cached": False,
    "created_at": "2026-11-21T09:00:00.000000Z",
    "started_at": "2026-11-21T09:00:00.004000Z",
    "completed_at": "2026-11-21T09:00:00.024000Z",
    "corrected_at": None,
    "reviewed_at": None,
    "reviewed_by": None,
    "verdict": None,
    "categories": [
        {"name": "animal", "confidence": 0.998241},
        {"name": "mammal", "confidence": 0.997113},
        {"name": "cat", "confidence": 0.984656},
    ],
    "decision": "sure",
    "calibrated_confidence": 0.951102,
}


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


StorableStr = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_storable)]
"""Text that PostgreSQL can store (no NUL)."""


class LabelConfidence(BaseModel):
    """A label and the model's confidence in it."""

    label: str
    confidence: float = Field(ge=0, le=1)


class CategoryConfidence(BaseModel):
    """A category, and the sum of the confidences of all labels in it."""

    name: str
    confidence: float = Field(ge=0, le=1)


class PredictionError(BaseModel):
    """Why a prediction failed."""

    code: str = Field(examples=["image_unreadable"])
    message: str


class PredictionRead(BaseModel):
    """A prediction: an uploaded image and the model's result."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_PREDICTION]}, protected_namespaces=())

    id: int
    filename: str = Field(description="The client's file name, at most 255 characters; for display only.")
    image_path: str = Field(description="Key of the image in the storage; chosen by the server.")
    content_type: str = Field(description="Detected from the bytes, not from the request.")
    size_bytes: int = Field(
        description="Of the upload. The stored file has no metadata, so it may be smaller, unless KEEP_ORIGINALS=1."
    )
    width: int = Field(description="In pixels, as displayed.")
    height: int = Field(description="In pixels, as displayed.")
    sha256: str = Field(description="SHA-256 of the uploaded bytes, in hexadecimal.")
    status: Status
    top_prediction: str | None = Field(description="The label with the highest confidence, or a person's correction.")
    confidence: float | None = Field(description="0..1")
    all_predictions: list[LabelConfidence] | None = Field(
        description="The model's five best labels, highest confidence first."
    )
    model: str
    model_version: str = Field(description="Identifies the model's weights, labels and preprocessing.")
    error: PredictionError | None
    attempts: int
    cached: bool = Field(description="Whether this is the cached result of the same model for the same bytes.")
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    corrected_at: datetime | None
    reviewed_at: datetime | None = Field(description="When a person confirmed or corrected the label.")
    reviewed_by: str | None = Field(description="Name of that person's API key.")
    verdict: Verdict | None = Field(
        description="`confirmed` if the person's label is the model's own, or else `corrected`."
    )
    categories: list[CategoryConfidence] | None = Field(
        description="The most confident categories; null for models whose labels have none. A category's confidence is "
        "the sum over all labels, not only the five best."
    )
    decision: Decision | None = Field(
        description="`sure` if the best label's confidence suffices and the image looks like a photograph. Null for "
        "custom models, which answer `other` unless a threshold is chosen for them, and for earlier results."
    )
    calibrated_confidence: float | None = Field(
        ge=0,
        le=1,
        description="How likely the model's best label is right, as reviews of its version show. Null with too few "
        "reviews, and for labels that people have set.",
    )

    @classmethod
    def from_row(cls, row: Prediction, calibrated_confidence: float | None) -> "PredictionRead":
        error = PredictionError(code=row.error_code, message=row.error_message or "") if row.error_code else None
        fields = {name: getattr(row, name) for name in cls.model_fields if name not in _NO_COLUMNS}
        return cls(error=error, calibrated_confidence=calibrated_confidence, **fields)


_NO_COLUMNS: Final = {"error", "calibrated_confidence"}


class Reclassification(BaseModel):
    """The model to classify the image with."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "efficientnet_lite0"}]}, extra="forbid")

    model: str = Field(default="", description="Name of a model from /models; empty for the default model.")


_ROW_ANSWER: Final[dict[str, Any]] = {
    "label": "virginica",
    "probabilities": {"virginica": 0.914286, "versicolor": 0.085714, "setosa": 0.0},
    "model": "iris_random_forest",
    "model_version": "0b9c1a3d5e7f",
}


class RowAnswer(BaseModel):
    """A tabular model's result for a row: the most probable label and the probability of each label."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ROW_ANSWER]}, protected_namespaces=())

    label: str
    probabilities: dict[str, float] = Field(
        description="Probability of each label, 0..1, highest first; they add up to 1."
    )
    model: str
    model_version: str


class RowPrediction(RowAnswer):
    """A default model's result for a row."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_ROW_ANSWER, "prediction": "virginica"}]})

    prediction: str = Field(description="The label once more.")


class FlowerPrediction(BaseModel):
    """The species of an iris flower."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prediction": "Virginica"}]})

    prediction: str


class ClassificationTask(BaseModel):
    """The state of a classification, and its result."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"task_status": "finished", "data": [["tiger_cat", 61.3], ["tabby", 20.1]]}]}
    )

    task_status: Literal["queued", "started", "finished", "failed"]
    data: list[list[str | float]] | None = Field(
        description="The five best labels with their confidence in percent; null until it is finished."
    )

    @classmethod
    def from_prediction(cls, prediction: PredictionRead) -> Self:
        """The state of a prediction."""
        scores = [[score.label, round(100 * score.confidence, 4)] for score in prediction.all_predictions or []]
        return cls(task_status=_TASK_STATUS[prediction.status], data=scores or None)


_TASK_STATUS: Final[dict[Status, Literal["queued", "started", "finished", "failed"]]] = {
    Status.PENDING: "queued",
    Status.PROCESSING: "started",
    Status.SUCCEEDED: "finished",
    Status.FAILED: "failed",
}


class PredictionCorrection(BaseModel):
    """A person's correction."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"top_prediction": "tabby", "confidence": 1.0}]}, strict=True
    )

    top_prediction: StorableStr = Field(min_length=1, max_length=255)
    confidence: float = Field(ge=0, le=1, allow_inf_nan=False)
    new_label: bool = Field(
        default=False, description="Of a prediction of a custom model: add the label to the model if it lacks it."
    )


class PredictionDeleted(BaseModel):
    """The deleted prediction."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": 1, "filename": "cat.jpg"}]})

    id: int
    filename: str


class BatchItem(BaseModel):
    """The outcome for one image of a batch: a prediction or an error."""

    number: int = Field(description="Position in the batch, starting at 1.")
    filename: str
    status: int = Field(description="Status code that an upload of this image alone would get.")
    prediction: PredictionRead | None = None
    error: PredictionError | None = None


class Batch(BaseModel):
    """The outcome of a batch upload."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 1,
                    "refused": 1,
                    "items": [
                        {
                            "number": 1,
                            "filename": "cat.jpg",
                            "status": 201,
                            "prediction": EXAMPLE_PREDICTION,
                            "error": None,
                        },
                        {
                            "number": 2,
                            "filename": "notes.txt",
                            "status": 400,
                            "prediction": None,
                            "error": {"code": "not_an_image", "message": "File must be an image"},
                        },
                    ],
                    "error": None,
                }
            ]
        }
    )

    accepted: int
    refused: int
    items: list[BatchItem]
    error: PredictionError | None = Field(
        default=None,
        description="Why the rest of the batch was not read, such as a damaged ZIP file. `items` remain valid.",
    )


class UploadJson(BaseModel):
    """An upload as JSON: the image in base64, or its URL."""

    model_config = ConfigDict(
        title="UploadJson",
        json_schema_extra={
            "examples": [
                {"image": "R0lGODdhAQABAIEAAHx8fAAAAAAAAAAAACwAAAAAAQABAAAIBAABBAQAOw=="},
                {"image_url": "https://example.com/cat.jpg", "model": "mobilenet_v2"},
            ]
        },
    )

    image: str = Field(default="", description="The file in base64, or a `data:` URL.")
    image_url: str = Field(
        default="",
        description="URL (http or https) to download the image from, if the operator allows it (`IMAGE_URL`).",
    )
    filename: str | None = Field(default=None, description="File name to display with the prediction.")
    model: str = Field(default="", description="Name of a model from /models; empty for the default model.")
    webhook_url: str = Field(default="", description="URL that receives a webhook when the prediction finishes.")
