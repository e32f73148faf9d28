"""The bodies of what happened to a prediction, with an example of each."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain import DeliveryStatus, Status
from app.models.pydantic import EXAMPLE_PREDICTION, LabelConfidence, PredictionError
from app.models.tortoise import Change, PastAnswer


class DeliveryRead(BaseModel):
    """A webhook of a prediction."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "url": "https://example.com/hook",
                    "status": "pending",
                    "attempts": 1,
                    "next_attempt_at": "2026-11-21T09:00:05.000000Z",
                    "response_status": 500,
                    "error": "Answered with 500.",
                    "created_at": "2026-11-21T09:00:00.000000Z",
                    "delivered_at": None,
                }
            ]
        },
    )

    id: int
    url: str
    status: DeliveryStatus = Field(
        description="`waiting` for the prediction's end, `pending`, `delivered` or `failed`."
    )
    attempts: int
    next_attempt_at: datetime | None
    response_status: int | None = Field(description="What the last attempt was answered with.")
    error: str | None = Field(description="What was wrong with the last attempt.")
    created_at: datetime
    delivered_at: datetime | None


class PastAnswerRead(BaseModel):
    """What a model said of the image before another was asked."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **{
                        name: EXAMPLE_PREDICTION[name]
                        for name in ("status", "top_prediction", "confidence", "all_predictions", "model")
                    },
                    **{
                        name: EXAMPLE_PREDICTION[name]
                        for name in ("model_version", "error", "attempts", "started_at", "completed_at", "corrected_at")
                    },
                    "replaced_at": "2026-11-21T09:05:00.000000Z",
                }
            ]
        },
        protected_namespaces=(),
    )

    status: Status
    top_prediction: str | None
    confidence: float | None
    all_predictions: list[LabelConfidence] | None
    model: str
    model_version: str
    error: PredictionError | None
    attempts: int
    started_at: datetime | None
    completed_at: datetime | None
    corrected_at: datetime | None
    replaced_at: datetime = Field(description="When another model was asked.")
    kind: Literal["answer"] = "answer"

    @classmethod
    def of(cls, row: PastAnswer) -> "PastAnswerRead":
        """The answer of a row."""
        error = PredictionError(code=row.error_code, message=row.error_message or "") if row.error_code else None
        fields = {name: getattr(row, name) for name in cls.model_fields if name not in {"error", "kind"}}
        return cls(error=error, **fields)


class ChangeRead(BaseModel):
    """A change that somebody made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "change",
                    "changed_at": "2026-11-21T09:04:00.000000Z",
                    "who": "anna",
                    "key_id": 1,
                    "action": "prediction.corrected",
                    "subject_id": 1,
                    "before": {"top_prediction": "tiger_cat", "confidence": 0.61, "corrected_at": None},
                    "after": {"top_prediction": "tabby", "confidence": 1.0, "corrected_at": "2026-11-21T09:04:00Z"},
                }
            ]
        }
    )

    kind: Literal["change"] = "change"
    changed_at: datetime
    who: str = Field(description="The name of the API key that was used, or who else it was.")
    key_id: int | None
    action: str = Field(description="prediction.corrected, prediction.deleted, key.created or key.revoked.")
    subject_id: int = Field(description="Id of the prediction, or of the key.")
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @classmethod
    def of(cls, row: Change) -> "ChangeRead":
        """The change of a row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields if name != "kind"})
