"""Creates predictions, and finds cached results. Every function raises DatabaseUnavailable."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg

from app.db.connection import columns, execute
from app.db.crud.embeddings import bits
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import (
    CategoryScore,
    Decision,
    IdempotencyClaim,
    IdempotencyKeyInFlight,
    ImageEmbedding,
    ImageInfo,
    LabelScore,
    ServiceError,
    Status,
)
from app.models.tortoise import Prediction


@dataclass(frozen=True, slots=True)
class InlineResult:
    """The outcome of a classification that was made before the row exists: scores, an error, or neither.

    With neither, the attempt counts and the image will be tried again. ``started_at``: by ``time.monotonic``.
    ``version``: of the model that gave the scores. ``cached``: the scores are an earlier prediction's.
    ``seconds``: of decoding, and of inference. ``cached_from``: ID of the earlier prediction,
    whose embedding is copied.
    """

    started_at: float
    scores: Sequence[LabelScore] = ()
    version: str = ""
    error: ServiceError | None = None
    cached: bool = False
    seconds: tuple[float, float] | None = None
    embedding: ImageEmbedding | None = None
    cached_from: int | None = None
    categories: Sequence[CategoryScore] = ()
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """A prediction to create. ``sha256``: of the uploaded bytes, in hexadecimal.

    ``received_at``: when the upload was complete, by ``time.monotonic``. ``webhook_url``: receives the result.
    ``key_id``: of the API key. ``trace_headers``: passed to the prediction's job.
    """

    filename: str
    image_path: str
    image: ImageInfo
    size_bytes: int
    sha256: str
    model: str
    model_version: str
    received_at: float
    inline_result: InlineResult | None = None
    idempotency_claim: IdempotencyClaim | None = None
    webhook_url: str | None = None
    key_id: int | None = None
    trace_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The columns that an inline result sets."""

    status: Status = Status.PENDING
    attempts: int = 0
    scores: Sequence[LabelScore] = ()
    error: ServiceError | None = None
    age: timedelta | None = None
    """Since its start; None if nothing was started."""
    cached: bool = False
    categories: Sequence[CategoryScore] = ()
    decision: Decision | None = None


def _outcome_of(result: InlineResult | None, now: float) -> _Outcome:
    if result is None:
        return _Outcome()
    age: timedelta | None = timedelta(seconds=now - result.started_at)
    if result.error:
        return _Outcome(Status.FAILED, attempts=1, error=result.error, age=age)
    if not result.scores:
        return _Outcome(attempts=1)
    if result.cached:
        attempts, age = 0, None
    else:
        attempts = 1
    return _Outcome(
        Status.SUCCEEDED,
        attempts,
        result.scores,
        age=age,
        cached=result.cached,
        categories=result.categories,
        decision=result.decision,
    )


class _RowSource(NamedTuple):
    """What a row is made from."""

    new: NewPrediction
    outcome: _Outcome
    now: float


class _Column(NamedTuple):
    """A parameter of the statement. ``stored``: the column of ``predictions`` and its value in SQL, if there is one."""

    name: str
    type: str
    value: Callable[[_RowSource], Any]
    stored: tuple[str, str] | None


def _stored(name: str, kind: str, value: Callable[[_RowSource], Any], cast: str = "") -> _Column:
    return _Column(name, kind, value, (name, name + cast))


def _claimed_at(source: _RowSource) -> datetime | None:
    claim = source.new.idempotency_claim
    return claim.claimed_at if claim else None


def _embedding(source: _RowSource, attribute: str) -> Any:
    result = source.new.inline_result
    return getattr(result.embedding, attribute) if result and result.embedding else None


def _code(source: _RowSource) -> asyncpg.BitString | None:
    result = source.new.inline_result
    return bits(result.embedding) if result and result.embedding else None


def _cached_from(source: _RowSource) -> int | None:
    return source.new.inline_result.cached_from if source.new.inline_result else None


# Times are the database's, minus the time that has passed by a clock that nobody adjusts.
_COLUMNS: Final = (
    _stored("filename", "text", lambda source: source.new.filename),
    _stored("image_path", "text", lambda source: source.new.image_path),
    _stored("content_type", "text", lambda source: source.new.image.content_type),
    _stored("width", "int", lambda source: source.new.image.width),
    _stored("height", "int", lambda source: source.new.image.height),
    _stored("size_bytes", "bigint", lambda source: source.new.size_bytes),
    _stored("sha256", "text", lambda source: source.new.sha256),
    _stored("model", "text", lambda source: source.new.model),
    _stored("model_version", "text", lambda source: source.new.model_version),
    _stored("key_id", "bigint", lambda source: source.new.key_id),
    _stored("status", "text", lambda source: source.outcome.status),
    _stored("attempts", "int", lambda source: source.outcome.attempts),
    _stored("top_prediction", "text", lambda source: _best(source.outcome, "label")),
    _stored("confidence", "float8", lambda source: _best(source.outcome, "confidence")),
    _stored("all_predictions", "text", lambda source: _all_scores(source.outcome), cast="::jsonb"),
    _stored("categories", "text", lambda source: categories_json(source.outcome.categories), cast="::jsonb"),
    _stored("decision", "text", lambda source: source.outcome.decision),
    _stored("error_code", "text", lambda source: source.outcome.error and source.outcome.error.code),
    _stored("error_message", "text", lambda source: source.outcome.error and source.outcome.error.message),
    _stored("cached", "bool", lambda source: source.outcome.cached),
    _Column(
        "age",
        "interval",
        lambda source: timedelta(seconds=source.now - source.new.received_at),
        ("created_at", "now() - age"),
    ),
    _Column("attempt_age", "interval", lambda source: source.outcome.age, ("started_at", "now() - attempt_age")),
    _Column(
        "idempotency_key",
        "text",
        lambda source: source.new.idempotency_claim.key if source.new.idempotency_claim else None,
        None,
    ),
    _Column("key_claimed_at", "timestamptz", _claimed_at, None),
    _Column("webhook_url", "text", lambda source: source.new.webhook_url, None),
    _Column("embedding_model", "text", lambda source: _embedding(source, "model"), None),
    _Column("embedding_version", "text", lambda source: _embedding(source, "version"), None),
    _Column("vector", "bytea", lambda source: _embedding(source, "vector"), None),
    _Column("code", "varbit", _code, None),
    _Column("cached_from", "bigint", _cached_from, None),
)
_STORED: Final = (
    *(column.stored for column in _COLUMNS if column.stored),
    ("completed_at", "CASE WHEN status <> 'pending' THEN now() END"),
)

_NEW: Final = f"""
WITH new AS (
    SELECT * FROM unnest({", ".join(f"${n}::{column.type}[]" for n, column in enumerate(_COLUMNS, 1))})
    AS new ({", ".join(column.name for column in _COLUMNS)})
)
"""  # noqa: S608 - names of our columns # nosec B608
# An upload that stalled until another one claimed its key must not create a second row.
_CLAIMS: Final = """
, claims AS (
    SELECT key FROM idempotency_keys JOIN new ON key = new.idempotency_key AND claimed_at = new.key_claimed_at
    FOR UPDATE OF idempotency_keys
)
"""
_INSERT: Final = f"""
, created AS (
    INSERT INTO predictions ({", ".join(name for name, _ in _STORED)})
    SELECT {", ".join(value for _, value in _STORED)} FROM new {{where}}
    RETURNING *
)
"""  # noqa: S608 - names of our columns # nosec B608
_STILL_CLAIMED: Final = "WHERE idempotency_key IS NULL OR idempotency_key IN (SELECT key FROM claims)"
# The key is recorded together with the row, so neither exists without the other.
_RECORD_KEYS: Final = """
, recorded AS (
    UPDATE idempotency_keys SET prediction_id = created.id
    FROM created JOIN new USING (image_path) WHERE key = new.idempotency_key
)
"""
# So is the webhook; it is due immediately if the prediction is already finished.
_ADD_WEBHOOKS: Final = """
, hooked AS (
    INSERT INTO deliveries (prediction_id, url, status, attempts, next_attempt_at, created_at)
    SELECT created.id, webhook_url, CASE WHEN created.status = 'pending' THEN 'waiting' ELSE 'pending' END, 0,
           CASE WHEN created.status <> 'pending' THEN now() END, now()
    FROM created JOIN new USING (image_path) WHERE webhook_url IS NOT NULL
)
"""
# A cached result has the embeddings of the earlier prediction.
_KEEP_EMBEDDINGS: Final = """
, kept AS (
    INSERT INTO embeddings (prediction_id, model, model_version, vector, code)
    SELECT created.id, embedding_model, embedding_version, vector, code
    FROM created JOIN new USING (image_path) WHERE vector IS NOT NULL
    UNION ALL
    SELECT created.id, embeddings.model, embeddings.model_version, embeddings.vector, embeddings.code
    FROM created JOIN new USING (image_path) JOIN embeddings ON embeddings.prediction_id = cached_from
)
"""
_CREATED: Final = "SELECT * FROM created"


@translate_connection_errors()
async def create_all(new: list[NewPrediction]) -> list[Prediction | IdempotencyKeyInFlight]:
    """Create predictions, pending or finished, in prediction statement; on return they are committed.

    IdempotencyKeyInFlight takes the place of a prediction whose key another upload has claimed in the meantime.
    """
    now = time.monotonic()
    sources = [_RowSource(prediction, _outcome_of(prediction.inline_result, now), now) for prediction in new]
    rows = [tuple(column.value(source) for column in _COLUMNS) for source in sources]
    with_keys = any(prediction.idempotency_claim for prediction in new)
    insert = _CLAIMS + _INSERT.format(where=_STILL_CLAIMED) + _RECORD_KEYS if with_keys else _INSERT.format(where="")
    add_webhooks = _ADD_WEBHOOKS if any(prediction.webhook_url for prediction in new) else ""
    results = [prediction.inline_result for prediction in new if prediction.inline_result]
    has_embeddings = any(result.embedding or result.cached_from for result in results)
    keep = _KEEP_EMBEDDINGS if has_embeddings else ""
    created = await execute(_NEW + insert + add_webhooks + keep + _CREATED, columns(rows))
    by_path = {row["image_path"]: from_row(Prediction, row) for row in created}
    return [by_path.get(prediction.image_path) or IdempotencyKeyInFlight() for prediction in new]


async def create(new: NewPrediction) -> Prediction:
    """Create one prediction; on return it is committed. Raises IdempotencyKeyInFlight."""
    (prediction,) = await create_all([new])
    if isinstance(prediction, IdempotencyKeyInFlight):
        raise prediction
    return prediction


def scores_json(scores: Sequence[LabelScore]) -> str:
    """Scores in the format of ``all_predictions``."""
    return json.dumps([{"label": score.label, "confidence": score.confidence} for score in scores])


def categories_json(categories: Sequence[CategoryScore]) -> str | None:
    """Categories in the format of the column; None without any."""
    return json.dumps([{"name": one.name, "confidence": one.confidence} for one in categories]) if categories else None


def _all_scores(outcome: _Outcome) -> str | None:
    return scores_json(outcome.scores) if outcome.scores else None


def _best(outcome: _Outcome, attribute: str) -> Any:
    return getattr(outcome.scores[0], attribute) if outcome.scores else None


_CACHED: Final = """
SELECT n, all_predictions::text AS scores, categories::text AS categories, decision, known.id
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS requested (sha256, model, model_version, n)
CROSS JOIN LATERAL (
    SELECT id, all_predictions, categories, decision FROM predictions
    WHERE sha256 = requested.sha256 AND model = requested.model AND model_version = requested.model_version
        AND status = 'succeeded'
        -- A result from before was sure or not by other thresholds, which processes use for up to two seconds, or has
        -- other categories.
        AND completed_at >= coalesce((
            SELECT chosen_at + interval '4 seconds' FROM decision_thresholds AS chosen
            WHERE chosen.model = requested.model
        ), '-infinity')
    LIMIT 1
) AS known
"""


@translate_connection_errors()
async def cached_results(requests: list[tuple[str, str, str]]) -> list[InlineResult | None]:
    """Earlier results of the same model for the same bytes, in one statement; None for unknown bytes.

    ``requests``: SHA-256 of the bytes, name and version of the model.
    """
    started_at = time.monotonic()
    results: list[InlineResult | None] = [None] * len(requests)
    for row in await execute(_CACHED, columns(requests)):
        scores = [LabelScore(**score) for score in json.loads(row["scores"])]
        categories = [CategoryScore(**category) for category in json.loads(row["categories"] or "[]")]
        index = row["n"] - 1
        version = requests[index][2]
        results[index] = InlineResult(
            started_at,
            scores,
            version=version,
            cached=True,
            cached_from=row["id"],
            categories=categories,
            decision=Decision(row["decision"]) if row["decision"] else None,
        )
    return results
