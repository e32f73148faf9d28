"""The words of the service: what a prediction is, and what can go wrong. Plain Python, no dependencies."""

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

MAX_ID = 2**63 - 1
"""The largest id a row can have (PostgreSQL ``bigint``)."""

MAX_FILENAME = 255
"""Characters of the client's file name that are kept."""


class Status(StrEnum):
    """The states of a prediction: pending → processing → succeeded or failed, or one of these at once (record 12)."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DeliveryStatus(StrEnum):
    """The states of a webhook: waiting for the prediction's end → pending → delivered or failed."""

    WAITING = "waiting"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Scope(StrEnum):
    """What a key may be used for; ``admin`` is for everything."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is: a key's, or anybody's (``key_id`` is None)."""

    key_id: int | None
    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether what needs ``scope`` may be done."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYBODY = Caller(None, "anonymous", frozenset(Scope))
"""Who uses a service that asks for no keys."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label and how sure the model is of it, 0..1."""

    label: str
    confidence: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.confidence) and 0 <= self.confidence <= 1):
            raise ValueError(f"confidence {self.confidence} is not within 0..1")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the bytes of an image say about it. Width and height are as displayed, in pixels."""

    content_type: str
    extension: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to classify one prediction: it ends when the lease does, or when another attempt begins.

    ``attempt`` and ``started_at`` are the fencing token: a result is only written while the row still carries them.
    (Attempts alone would not do: they are counted anew when a prediction is classified again.)
    """

    prediction_id: int
    attempt: int
    started_at: datetime
    image_path: str
    model: str
    waited: float = field(default=0.0, compare=False)
    """Seconds until it was claimed."""


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key as long as the upload that came with it is in flight; ``claimed_at`` tells it from a later one."""

    key: str
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a prediction is tried, and how long one attempt may own its row."""

    max_attempts: int
    lease: timedelta


class ServiceError(Exception):
    """The service could not do what was asked."""

    code: ClassVar[str] = "service_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])

    @property
    def message(self) -> str:
        """One plain sentence that may be shown to a client."""
        return str(self)


class KeyNeeded(ServiceError):
    """An API key is needed: send it as X-API-Key, or as Authorization: Bearer."""

    code = "key_needed"


class KeyRefused(ServiceError):
    """The API key is not valid: it is unknown, expired or revoked."""

    code = "key_refused"


class ScopeMissing(ServiceError):
    """The API key is not allowed to do this."""

    code = "scope_missing"


class CrossSite(ServiceError):
    """Another site sent this request: nothing was done."""

    code = "cross_site"


class RateLimited(ServiceError):
    """More was asked for than is allowed in a while. Try again later."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after: int, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.headers = headers


class QuotaExceeded(ServiceError):
    """The images of this key take all the bytes that they may."""

    code = "quota_exceeded"


class PredictionNotFound(ServiceError):
    """Prediction not found"""

    code = "prediction_not_found"


class NotAnImage(ServiceError):
    """File must be an image"""

    code = "not_an_image"


class UploadTooLarge(ServiceError):
    """The upload is too large."""

    code = "upload_too_large"


class ArchiveRefused(ServiceError):
    """The ZIP file cannot be read."""

    code = "archive_refused"


class ImageTooLarge(ServiceError):
    """The image has too many pixels."""

    code = "image_too_large"


class ImageNotFetched(ServiceError):
    """The image could not be fetched from its address."""

    code = "image_not_fetched"


class ImageUnreadable(ServiceError):
    """The image could not be decoded: the file is damaged or incomplete."""

    code = "image_unreadable"


class ImageMissing(ServiceError):
    """The stored image is gone."""

    code = "image_missing"


class AttemptsExhausted(ServiceError):
    """The prediction was tried as often as allowed and never finished."""

    code = "attempts_exhausted"


class ModelUnknown(ServiceError):
    """There is no such model."""

    code = "model_unknown"


class ModelBroken(ServiceError):
    """The model cannot be used."""

    code = "model_broken"


class NotExplainable(ServiceError):
    """The model has no heat map."""

    code = "not_explainable"


class EngineDied(ServiceError):
    """The process that decodes images and runs their models died over this one, or beside it."""

    code = "engine_died"


class EngineFailed(ServiceError):
    """The process that decodes images and runs their models met an error that nobody foresaw."""

    code = "engine_failed"


class NoWorkerYet(ServiceError):
    """No worker has started yet, so no model is known: start `python -m app worker`, and try again."""

    code = "no_worker_yet"


class PredictionUnfinished(ServiceError):
    """The prediction is not finished yet: wait until its status is succeeded or failed."""

    code = "prediction_unfinished"


class StorageUnavailable(ServiceError):
    """The storage of the images cannot be used at the moment. Try again later."""

    code = "storage_unavailable"


class DatabaseUnavailable(ServiceError):
    """The database cannot be reached at the moment. Try again shortly."""

    code = "database_unavailable"

    def __init__(self, *, maybe_done: bool = False) -> None:
        super().__init__()
        self.maybe_done = maybe_done


class TablesMissing(DatabaseUnavailable):
    """The database's tables are not those of this version: run `python -m app migrate`."""

    code = "tables_missing"


class IdempotencyKeyReused(ServiceError):
    """This Idempotency-Key was used for another upload: use a new one for each image, and the same only to repeat."""

    code = "idempotency_key_reused"


class IdempotencyKeyInFlight(ServiceError):
    """The first upload with this Idempotency-Key is not done yet: try again in a moment."""

    code = "idempotency_key_in_flight"


class Overloaded(ServiceError):
    """More predictions wait than the service takes. Try again later."""

    code = "overloaded"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class StartupError(ServiceError):
    """The service cannot start."""

    code = "startup_error"
