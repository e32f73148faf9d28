"""Bodies about custom models, each with an example."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.domain import MAX_LABELS, MAX_MODEL_NAME, MODEL_NAME, OTHER, Status, Use
from app.models.pydantic import PredictionError, StorableStr
from app.models.tortoise import Example, Training

RESERVED_NAME: Final = "default"
MAX_LABEL_LENGTH: Final = 255

_EXAMPLE_TRAINING: Final[dict[str, Any]] = {
    "id": 1,
    "model": "insects",
    "status": "succeeded",
    "version": 1,
    "served": True,
    "decision": "It is the first version.",
    "examples": 120,
    "examples_sha256": "0f6c4d2e9a7b18c35d40e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6",
    "base_version": "9001341de9b6",
    "metrics": {
        "examples": 120,
        "folds": 5,
        "near_duplicates": 0,
        "accuracy": 0.9667,
        "accuracy_interval": [0.9174, 0.987],
        "labels": [
            {"label": "ant", "examples": 60, "precision": 0.9667, "recall": 0.9667},
            {"label": "bee", "examples": 60, "precision": 0.9667, "recall": 0.9667},
        ],
        "confusion": [[58, 2], [2, 58]],
        "other": {"threshold": 0.4863, "false_alarms": 0.025, "images": 12, "recognized": 0.9167},
        "check": {"examples": 60, "accuracy": 0.9667, "accuracy_interval": [0.8864, 0.9908]},
        "compared": None,
        "unreadable": [],
    },
    "error": None,
    "requested_at": "2026-11-27T09:00:00.000000Z",
    "started_at": "2026-11-27T09:00:00.400000Z",
    "completed_at": "2026-11-27T09:00:02.100000Z",
    "requested_by": "anna",
    "progress": 1.0,
}


def checked_label(text: str) -> str:
    """A label without spaces around it. Raises ValueError if it cannot be one."""
    label = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(label) <= MAX_LABEL_LENGTH:
        raise ValueError(f"A label has 1 to {MAX_LABEL_LENGTH} characters.")
    return _label(label)


def _label(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if unicodedata.normalize("NFKC", text).casefold() == OTHER:
        raise ValueError(f"{OTHER!r} is reserved for images unlike all examples. Use another label.")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text):
        raise ValueError("A label must not contain control characters.")
    if all(unicodedata.category(character) in _INVISIBLE for character in text):
        raise ValueError("A label needs a visible character.")
    return text


_INVISIBLE: Final = {"Cf", "Cn", "Co", "Mn", "Me", "Zs"}
"""Categories of characters of which a label cannot consist."""


Label = Annotated[StorableStr, StringConstraints(min_length=1, max_length=MAX_LABEL_LENGTH), AfterValidator(_label)]


def _not_reserved(name: str) -> str:
    if name == RESERVED_NAME:
        raise ValueError(f"/models/{RESERVED_NAME} is the choice of the default model: choose another name.")
    return name


ModelName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=MODEL_NAME, max_length=MAX_MODEL_NAME),
    AfterValidator(_not_reserved),
]


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("Labels must be unique.")
    return labels


class CustomModelCreate(BaseModel):
    """A model to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "insects", "labels": ["ant", "bee"]}]})

    name: ModelName = Field(description="Letters, digits and `._-`; starts with a letter or a digit.")
    base: str = Field(default="", max_length=64, description="Image model to build on; empty for the default model.")
    labels: Annotated[list[Label], AfterValidator(_distinct)] = Field(default=[], max_length=MAX_LABELS)
    retrain_after: int = Field(
        default=10, ge=0, le=1_000_000, description="Trains by itself after this many new examples; 0: never."
    )


class LabelCount(BaseModel):
    """A label, and how many examples it has."""

    label: str
    learn: int
    check: int


class CustomModelRead(BaseModel):
    """A custom model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "insects",
                    "base": "mobilenet_v2",
                    "labels": [
                        {"label": "ant", "learn": 60, "check": 30},
                        {"label": "bee", "learn": 60, "check": 30},
                    ],
                    "version": 1,
                    "model_version": "1-5f2b0c9d8e7a",
                    "retrain_after": 10,
                    "new_examples": 0,
                    "training": None,
                    "created_at": "2026-11-27T09:00:00.000000Z",
                    "created_by": "anna",
                }
            ]
        },
        protected_namespaces=(),
    )

    name: str
    base: str
    labels: list[LabelCount]
    version: int | None = Field(description="Number of the version that is served; null before the first training.")
    model_version: str | None = Field(description="Name of that version in predictions.")
    retrain_after: int
    new_examples: int = Field(description="Added or changed since the last training.")
    training: int | None = Field(description="ID of a training that is pending or in progress.")
    created_at: datetime
    created_by: str


class ExampleWrite(BaseModel):
    """An example to add or to change."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"label": "ant"}]})

    label: Label
    use: Use = Field(default=Use.LEARN, description="`check`: the model never learns from it.")
    new_label: bool = Field(default=False, description="Add the label to the model if it does not have it.")


class ExampleRead(BaseModel):
    """An example of a custom model: the image of a prediction."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prediction_id": 1,
                    "label": "ant",
                    "use": "learn",
                    "added_at": "2026-11-27T09:00:00.000000Z",
                    "added_by": "anna",
                }
            ]
        }
    )

    prediction_id: int
    label: str
    use: Use
    added_at: datetime
    added_by: str

    @classmethod
    def from_row(cls, row: Example) -> Self:
        """The body for a row."""
        number: int = row.prediction_id  # type: ignore[attr-defined]
        return cls(prediction_id=number, label=row.label, use=row.use, added_at=row.added_at, added_by=row.who)


class ExampleOutcome(BaseModel):
    """What became of a file of a batch."""

    number: int = Field(description="Position in the batch, from 1.")
    filename: str
    status: int = Field(description="HTTP status: 201 for an example.")
    example: ExampleRead | None = None
    error: PredictionError | None = None


class ExampleBatch(BaseModel):
    """The outcome of a batch of examples."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 1,
                    "refused": 0,
                    "items": [
                        {
                            "number": 1,
                            "filename": "ant/1.jpg",
                            "status": 201,
                            "example": {
                                "prediction_id": 1,
                                "label": "ant",
                                "use": "learn",
                                "added_at": "2026-11-27T09:00:00.000000Z",
                                "added_by": "anna",
                            },
                            "error": None,
                        }
                    ],
                    "error": None,
                }
            ]
        }
    )

    accepted: int
    refused: int
    items: list[ExampleOutcome]
    error: PredictionError | None = Field(default=None, description="Why the rest of the batch was not read.")


class LabelMetrics(BaseModel):
    """How well a label is recognized."""

    label: str
    examples: int
    precision: float | None = Field(description="Share of images classified as this label that have it.")
    recall: float | None = Field(description="Share of images with this label that are classified as it.")
    other: int = Field(default=0, description="Examples of this label that get `other`.")


class OtherMetrics(BaseModel):
    """What gets the label `other`."""

    threshold: float = Field(description="Images less similar to the examples than this get `other`; -1 to 1.")
    false_alarms: float | None = Field(description="Share of the examples that would get it.")
    images: int = Field(default=0, description="Images that people reviewed as `other`; they set the threshold.")
    recognized: float | None = Field(default=None, description="Share of these that would get it.")


class CheckMetrics(BaseModel):
    """Results for the images that the model never learns from."""

    examples: int
    accuracy: float | None
    accuracy_interval: list[float] = Field(description="Bounds of the 95 % interval.")


class VersionComparison(BaseModel):
    """Correct examples of two versions, among those that both have learned."""

    version: int = Field(description="The version that was served before.")
    examples: int
    right_before: int
    right_now: int


class TrainingMetrics(BaseModel):
    """Results of cross-validation; shares are 0 to 1."""

    examples: int
    folds: int
    near_duplicates: int = Field(description="Examples that are nearly the same image as another.")
    accuracy: float | None
    accuracy_interval: list[float] = Field(description="Bounds of the 95 % interval.")
    labels: list[LabelMetrics]
    confusion: list[list[int]] | None = Field(
        default=None,
        description="Number of examples by true label (rows) and predicted label (columns), without those that get "
        "`other`; not in lists.",
    )
    other: OtherMetrics
    check: CheckMetrics | None = Field(default=None, description="Null if there are no images for checks.")
    compared: VersionComparison | None = Field(default=None, description="Null if no other version was served.")
    unreadable: list[int] = Field(description="IDs of predictions whose images cannot be read, at most 100.")


class TrainingRead(BaseModel):
    """A training of a custom model; once succeeded, a version of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_TRAINING]})

    id: int
    model: str
    status: Status
    version: int | None = Field(description="Number of the version that it has produced.")
    served: bool = Field(description="Whether that version answers now.")
    decision: str | None = Field(description="Why the version is served, or waits for a person.")
    examples: int | None
    examples_sha256: str | None = Field(description="Identifies the examples and their labels.")
    base_version: str | None
    metrics: TrainingMetrics | None
    error: PredictionError | None
    requested_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    requested_by: str
    progress: float | None = Field(
        default=None, description="Share of the work that is done, 0..1: most of it are embeddings that are missing."
    )

    @classmethod
    def from_row(cls, row: Training, model: str, served: int | None) -> Self:
        """The body for a row; ``served``: ID of the training whose version is served."""
        error = (
            PredictionError(code=row.error_code, message=row.error_message or row.error_code)
            if row.error_code
            else None
        )
        return cls(
            id=row.id,
            model=model,
            status=row.status,
            version=row.number,
            served=row.id == served,
            decision=row.decision,
            examples=row.examples,
            examples_sha256=row.examples_sha256,
            base_version=row.base_version,
            metrics=TrainingMetrics.model_validate(row.metrics) if row.metrics else None,
            error=error,
            requested_at=row.requested_at,
            started_at=row.started_at,
            completed_at=row.completed_at,
            requested_by=row.who,
            progress=1.0 if row.status == Status.SUCCEEDED else row.progress,
        )


class WrongAnswer(BaseModel):
    """An example that cross-validation answered with another label."""

    prediction_id: int
    label: str
    answer: str
    confidence: float


class TrainingRequest(BaseModel):
    """Options of a training."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"webhook_url": "https://example.com/hook"}]})

    webhook_url: str = Field(default="", description="URL that receives a signed webhook when the training ends.")


class VersionChoice(BaseModel):
    """The version to serve."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 1}]})

    version: int = Field(ge=1, le=2**31 - 1)
