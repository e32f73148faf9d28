"""Domain vocabulary: statuses, value objects and errors. Plain Python without dependencies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Final, Self

MAX_ID = 2**63 - 1
"""Largest id of a row (PostgreSQL ``bigint``)."""

MAX_FILENAME = 255
"""Characters of the client's file name that are kept."""

MODEL_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Pattern of a model's name."""
MAX_MODEL_NAME: Final = 64

MAX_LABELS: Final = 1_000
"""Of a custom model."""

OTHER: Final = "other"
"""What custom models answer for images that are unlike all examples, so no label has this name."""


class Status(StrEnum):
    """States of a prediction: pending → processing → succeeded or failed, or directly one of these (record 12)."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Use(StrEnum):
    """What an example of a custom model is for."""

    LEARN = "learn"
    """The model is trained with it."""
    CHECK = "check"
    """The model is only tried with it."""


class Verdict(StrEnum):
    """Whether a person's label is the model's own."""

    CONFIRMED = "confirmed"
    CORRECTED = "corrected"


class DeliveryStatus(StrEnum):
    """States of a webhook: waiting (for its prediction to finish) → pending → delivered or failed."""

    WAITING = "waiting"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Scope(StrEnum):
    """What an API key allows; ``admin`` includes the others."""

    UPLOAD = "upload"
    """Upload images, and read the predictions of these."""
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the owner of an API key, or an anonymous caller (``key_id`` is None).

    ``address``: network address of the client; empty for the service itself and for the command line.
    """

    key_id: int | None
    name: str
    scopes: frozenset[Scope]
    address: str = field(default="", compare=False)

    def may(self, scope: Scope) -> bool:
        """Whether the caller has ``scope``."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def reads_only_own(self) -> bool:
        """Whether the caller may only read predictions that were uploaded with its own key."""
        return self.may(Scope.UPLOAD) and not self.may(Scope.READ)


ANYBODY = Caller(None, "anonymous", frozenset(Scope))
"""The caller of a service that requires no API keys."""


TOP: Final = 5
"""Labels of an answer."""
CONFIDENCE_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label and the model's confidence in it, 0..1."""

    label: str
    confidence: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.confidence) and 0 <= self.confidence <= 1):
            raise ValueError(f"confidence {self.confidence} is not within 0..1")


class Decision(StrEnum):
    """Whether a result can be relied on."""

    SURE = "sure"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which confidence on results are sure, 0..1."""

    sure_from: float
    labels: Mapping[str, float]
    """Other thresholds for some labels."""

    def of(self, label: str) -> float:
        """The confidence from which a label is sure."""
        return self.labels.get(label, self.sure_from)


@dataclass(frozen=True, slots=True)
class CategoryScore:
    """A category of labels, and the sum of their confidences, 0..1."""

    name: str
    confidence: float


@dataclass(frozen=True, slots=True)
class ImageEmbedding:
    """An image's feature vector, computed by an image model.

    ``vector``: in half precision, little endian. ``code``: a bit for each of its numbers, to compare images quickly.
    """

    model: str
    version: str
    vector: bytes
    code: bytes

    @property
    def features(self) -> int:
        """Length of the vector, and number of bits of the code."""
        return len(self.vector) // 2


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Format and size of an image. Width and height are in pixels, as displayed."""

    content_type: str
    extension: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to classify one prediction, until its lease expires or another attempt begins.

    ``attempt`` and ``started_at`` are the fencing token: a result is only written while the row still has both.
    (``attempt`` alone is not enough: it restarts at 1 when a prediction is classified again.)
    """

    prediction_id: int
    attempt: int
    started_at: datetime
    image_path: str
    model: str
    waited: float = field(default=0.0, compare=False)
    """Seconds between the request and the claim."""


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """An idempotency key claimed by an upload in progress; ``claimed_at`` distinguishes it from later claims."""

    key: str
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class RateDecision:
    """Whether a request was within its quota, and what is ``left`` of it.

    ``seconds``: until all of the quota is free; if the request was not allowed, until enough of it is.
    """

    allowed: bool
    quota: int
    left: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Maximum attempts for a prediction, and how long one attempt may hold its row."""

    max_attempts: int
    lease: timedelta
    max_interruptions: int = 10
    """Attempts that may end with their process: an image that ends it each time must not be tried for ever."""


class ServiceError(Exception):
    """The service could not complete the request."""

    code: ClassVar[str] = "service_error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])

    @property
    def message(self) -> str:
        """One plain sentence that may be shown to a client."""
        return str(self)


class KeyNeeded(ServiceError):
    """An API key is required: send it as X-API-Key or as Authorization: Bearer."""

    code = "key_needed"


class KeyRefused(ServiceError):
    """The API key is unknown, expired or revoked."""

    code = "key_refused"


class KeyNotFound(ServiceError):
    """There is no valid API key with this ID."""

    code = "key_not_found"


class ScopeMissing(ServiceError):
    """The API key does not allow this."""

    code = "scope_missing"


class CrossSite(ServiceError):
    """The request was rejected because it came from another site."""

    code = "cross_site"


class HostNotAllowed(ServiceError):
    """The host name of the request is not allowed."""

    code = "host_not_allowed"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"The host name {host[:MAX_FILENAME]!r} is not allowed. If it belongs to this service, "
            "add it to the setting ALLOWED_HOSTS."
        )


class RateLimited(ServiceError):
    """Too many requests. Try again later."""

    code = "rate_limited"

    def __init__(
        self, message: str, retry_after: int, limits: Mapping[str, RateDecision] = MappingProxyType({})
    ) -> None:
        """``limits``: the decisions on each limit, by unit (requests, bytes)."""
        super().__init__(message)
        self.retry_after = retry_after
        self.limits = limits


class QuotaExceeded(ServiceError):
    """The storage quota is exceeded."""

    code = "quota_exceeded"


class PredictionNotFound(ServiceError):
    """Prediction not found"""

    code = "prediction_not_found"


class NotAnImage(ServiceError):
    """File must be an image"""

    code = "not_an_image"

    def __init__(self, message: str | None = None, *, reason: str | None = None) -> None:
        """``reason``: what the file is instead, and what to do, if that is known: a sentence."""
        super().__init__(message)
        self.reason = reason


class UploadTooLarge(ServiceError):
    """The upload is too large."""

    code = "upload_too_large"

    @classmethod
    def above(cls, max_bytes: int, what: str = "upload") -> Self:
        """The error of an upload with more than ``max_bytes`` bytes."""
        return cls(f"The {what} is larger than {max_bytes} bytes.")


class ArchiveRefused(ServiceError):
    """The ZIP file cannot be read."""

    code = "archive_refused"


class ImageTooLarge(ServiceError):
    """The image has too many pixels."""

    code = "image_too_large"


class ImageNotFetched(ServiceError):
    """The image could not be downloaded."""

    code = "image_not_fetched"


class ImageUnreadable(ServiceError):
    """The image could not be decoded: the file is damaged or incomplete."""

    code = "image_unreadable"


class ImageMissing(ServiceError):
    """The stored image is missing."""

    code = "image_missing"


class AttemptsExhausted(ServiceError):
    """The prediction failed after the maximum number of attempts."""

    code = "attempts_exhausted"


class ModelUnknown(ServiceError):
    """The model does not exist."""

    code = "model_unknown"


class ModelBroken(ServiceError):
    """The model cannot be used."""

    code = "model_broken"


class ModelExists(ServiceError):
    """A model with this name exists."""

    code = "model_exists"


class VersionUnknown(ServiceError):
    """The model has no such version."""

    code = "version_unknown"


class ShadowNotFound(ServiceError):
    """No model has been compared with the default one yet."""

    code = "shadow_not_found"


class VersionUnusable(ServiceError):
    """The version cannot be served."""

    code = "version_unusable"


class ExampleNotFound(ServiceError):
    """The prediction is not an example of this model."""

    code = "example_not_found"


class ExampleContradicts(ServiceError):
    """The same image is an example of another label."""

    code = "example_contradicts"


class TrainingNotFound(ServiceError):
    """Training not found"""

    code = "training_not_found"


class LabelUnknown(ServiceError):
    """The model does not have that label."""

    code = "label_unknown"


class ExamplesMissing(ServiceError):
    """The model has too few examples."""

    code = "examples_missing"


class ReviewsMissing(ServiceError):
    """There are too few reviews."""

    code = "reviews_missing"


class TrainingFailed(ServiceError):
    """The training failed."""

    code = "training_failed"


class TrainingInterrupted(ServiceError):
    """The training process was ended from outside."""

    code = "training_interrupted"


class NotExplainable(ServiceError):
    """The model has no heat map."""

    code = "not_explainable"


class EmbeddingMissing(ServiceError):
    """There is no embedding to compare an image by."""

    code = "embedding_missing"


class EngineDied(ServiceError):
    """The inference process died while this image was in progress. Try again shortly."""

    code = "engine_died"


class EngineInterrupted(EngineDied):
    """The inference process restarted because of another image. Try again shortly."""


class EngineFailed(ServiceError):
    """The inference process reported an unexpected error."""

    code = "engine_failed"


class NoWorkerYet(ServiceError):
    """No worker has started yet, so no models are available: start `./classifier worker` and try again."""

    code = "no_worker_yet"


class PredictionUnfinished(ServiceError):
    """The prediction is not finished: wait until its status is succeeded or failed."""

    code = "prediction_unfinished"


class StorageUnavailable(ServiceError):
    """The image storage is unavailable. Try again later."""

    code = "storage_unavailable"


class DatabaseUnavailable(ServiceError):
    """The database is unavailable. Try again shortly."""

    code = "database_unavailable"

    def __init__(self, message: str | None = None, *, outcome_unknown: bool = False) -> None:
        """``message``: the reason, where it is known. ``outcome_unknown``: a statement may have been executed."""
        super().__init__(message)
        self.has_reason = message is not None
        self.outcome_unknown = outcome_unknown


class TablesMissing(DatabaseUnavailable):
    """The database tables do not match this version: run `./classifier migrate`."""

    code = "tables_missing"


class IdempotencyKeyReused(ServiceError):
    """This Idempotency-Key was used for a different upload: use a new key for each image."""

    code = "idempotency_key_reused"


class IdempotencyKeyInFlight(ServiceError):
    """The first upload with this Idempotency-Key is still in progress: try again shortly."""

    code = "idempotency_key_in_flight"


class Overloaded(ServiceError):
    """The service has too many unfinished predictions. Try again later."""

    code = "overloaded"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class StartupError(ServiceError):
    """The service cannot start."""

    code = "startup_error"
