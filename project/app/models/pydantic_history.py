"""Bodies about the history of a prediction, each with an example."""

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
                    "error": "The receiver responded with 500.",
                    "created_at": "2026-11-21T09:00:00.000000Z",
                    "delivered_at": None,
                }
            ]
        },
    )

    id: int
    url: str
    status: DeliveryStatus = Field(
        description="`waiting` (for the prediction to finish), `pending`, `delivered` or `failed`."
    )
    attempts: int
    next_attempt_at: datetime | None
    response_status: int | None = Field(description="Status code of the response to the last attempt.")
    error: str | None = Field(description="Why the last attempt failed.")
    created_at: datetime
    delivered_at: datetime | None


class PastAnswerRead(BaseModel):
    """An earlier result, replaced when the image was classified again."""

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
    replaced_at: datetime = Field(description="When this result was replaced.")
    kind: Literal["answer"] = "answer"

    @classmethod
    def from_row(cls, row: PastAnswer) -> "PastAnswerRead":
        error = PredictionError(code=row.error_code, message=row.error_message or "") if row.error_code else None
        fields = {name: getattr(row, name) for name in cls.model_fields if name not in {"error", "kind"}}
        return cls(error=error, **fields)


class ChangeRead(BaseModel):
    """A change made by a person or a program."""

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
                    "before": {
                        "top_prediction": "tiger_cat",
                        "confidence": 0.61,
                        "corrected_at": None,
                        "verdict": None,
                    },
                    "after": {
                        "top_prediction": "tabby",
                        "confidence": 1.0,
                        "corrected_at": "2026-11-21T09:04:00Z",
                        "verdict": "corrected",
                    },
                    "address": "192.0.2.7",
                }
            ]
        }
    )

    kind: Literal["change"] = "change"
    changed_at: datetime
    who: str = Field(description="Name of the API key, or of the user for other changes.")
    key_id: int | None
    action: str = Field(
        description="prediction.corrected, prediction.deleted, model.created, model.served, key.created, key.revoked, …"
    )
    subject_id: int = Field(description="ID of the prediction or the key; 0 if it is about neither.")
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str | None = Field(description="Network address of the client; null for the service itself.")

    @classmethod
    def from_row(cls, row: Change) -> "ChangeRead":
        return cls(**{name: getattr(row, name) for name in cls.model_fields if name != "kind"})
