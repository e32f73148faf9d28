"""Trainings of custom models. Each state change is one guarded statement.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from app.db.connection import execute
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import Caller, ModelUnknown, ServiceError, TrainingNotFound
from app.models.tortoise import Training

MAX_ATTEMPTS: Final = 3
KEPT_VERSIONS: Final = 20

_COLUMNS: Final = """
id, model_id, status, number, requested_at, started_at, completed_at, lease_expires_at, attempts, key_id, who, labels,
examples, examples_sha256, base_version, metrics, NULL::jsonb AS answers, NULL::bytea AS head, head_sha256, decision,
error_code, error_message, progress
"""
"""All columns, except for the weights and the answers, which are large."""
_REQUEST: Final = f"""
INSERT INTO trainings (model_id, status, requested_at, attempts, key_id, who)
SELECT id, 'pending', now(), 0, $2, $3 FROM custom_models WHERE id = $1
ON CONFLICT (model_id) WHERE status IN ('pending', 'processing') DO NOTHING
RETURNING {_COLUMNS}
"""  # noqa: S608 - columns of ours # nosec B608
_ACTIVE: Final = f"""
SELECT {_COLUMNS} FROM trainings WHERE model_id = $1 AND status IN ('pending', 'processing')
"""  # noqa: S608 - columns of ours # nosec B608
_LIST: Final = f"""
SELECT {_COLUMNS.replace("metrics,", "metrics - 'confusion' AS metrics,")} FROM trainings
WHERE model_id = $1 AND (number IS NOT NULL OR NOT $3) ORDER BY id DESC LIMIT $2
"""  # noqa: S608 - columns of ours # nosec B608
# Versions beyond the newest ones cannot be served again: a model that trains by itself would have hundreds.
_PRUNE: Final = """
UPDATE trainings SET head = NULL, answers = NULL
WHERE model_id = $1 AND head IS NOT NULL
    AND id <> ALL(ARRAY(SELECT id FROM trainings WHERE model_id = $1 AND number IS NOT NULL ORDER BY id DESC LIMIT $2))
    AND id IS DISTINCT FROM (SELECT training_id FROM custom_models WHERE id = $1)
"""
_CLAIM: Final = f"""
UPDATE trainings
SET status = 'processing', attempts = attempts + 1, started_at = now(), lease_expires_at = now() + $1::interval
WHERE id IN (
    SELECT id FROM trainings
    WHERE status = 'pending' OR (status = 'processing' AND lease_expires_at < now())
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING {_COLUMNS}
"""  # noqa: S608 - columns of ours # nosec B608
_RENEW: Final = """
UPDATE trainings SET lease_expires_at = now() + $3::interval
WHERE id = $1 AND attempts = $2 AND status = 'processing' RETURNING id
"""
_RELEASE: Final = """
UPDATE trainings SET status = 'pending', lease_expires_at = NULL, attempts = attempts - 1
WHERE id = $1 AND attempts = $2 AND status = 'processing'
"""
_POSTPONE: Final = """
UPDATE trainings SET attempts = attempts - 1 WHERE id = $1 AND attempts = $2 AND status = 'processing'
"""
_FAIL: Final = """
UPDATE trainings
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $3, error_message = $4
WHERE id = $1 AND attempts = $2 AND status = 'processing'
"""
# Versions are numbered in the order in which they are finished; a model is trained once at a time. The model is locked
# first, as by its deletion. If a person has chosen a version meanwhile, that choice stays.
_SUCCEED: Final = """
WITH model AS (
    SELECT id FROM custom_models WHERE id = $14 FOR NO KEY UPDATE
), finished AS (
    UPDATE trainings
    SET status = 'succeeded', completed_at = now(), lease_expires_at = NULL, labels = $3::jsonb, examples = $4,
        examples_sha256 = $5, base_version = $6, metrics = $7::jsonb, answers = $8::jsonb, head = $9,
        head_sha256 = $10, decision = $11,
        number = 1 + (SELECT coalesce(max(number), 0) FROM trainings AS other WHERE other.model_id = trainings.model_id)
    FROM model
    WHERE trainings.id = $1 AND model_id = model.id AND attempts = $2 AND status = 'processing'
    RETURNING trainings.id, model_id
)
UPDATE custom_models
SET training_id = CASE WHEN $12 AND training_id IS NOT DISTINCT FROM $13 THEN finished.id ELSE training_id END
FROM finished WHERE custom_models.id = model_id
RETURNING custom_models.id
"""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training has produced."""

    labels: Sequence[str]
    examples: int
    examples_sha256: str
    base_version: str
    metrics: dict[str, Any]
    answers: list[dict[str, Any]]
    head: bytes
    head_sha256: str
    decision: str
    is_served: bool
    served_before: int | None
    """Training whose version was served when this was decided."""


@translate_connection_errors()
async def request(model_id: int, actor: Caller) -> Training:
    """Request a training of a model, or return the one that is pending or in progress. Raises ModelUnknown."""
    while True:
        for statement, values in ((_REQUEST, [model_id, actor.key_id, actor.name]), (_ACTIVE, [model_id])):
            if rows := await execute(statement, values):
                return from_row(Training, rows[0])
        # The active one has ended in between, unless the model was deleted.
        if not await execute("SELECT id FROM custom_models WHERE id = $1", [model_id]):
            raise ModelUnknown


@translate_connection_errors()
async def active(model_id: int) -> Training | None:
    """The training of a model that is pending or in progress; None if there is none."""
    rows = await execute(_ACTIVE, [model_id])
    return from_row(Training, rows[0]) if rows else None


@translate_connection_errors()
async def claim(lease: timedelta) -> Training | None:
    """Claim the oldest training that is pending, or whose process died; None if there is none."""
    rows = await execute(_CLAIM, [lease])
    return from_row(Training, rows[0]) if rows else None


@translate_connection_errors()
async def renew(training: Training, lease: timedelta) -> bool:
    """Renew the lease; False if the training is no longer this process's."""
    return bool(await execute(_RENEW, [training.id, training.attempts, lease]))


@translate_connection_errors()
async def release(training: Training) -> None:
    """Return a training to pending, as if it had not been attempted: its process stops."""
    await execute(_RELEASE, [training.id, training.attempts])


@translate_connection_errors()
async def postpone(training: Training) -> None:
    """Do not count an attempt that ended for reasons outside of the training; it is repeated when the lease expires."""
    await execute(_POSTPONE, [training.id, training.attempts])


@translate_connection_errors()
async def fail(training: Training, error: ServiceError) -> None:
    """Fail a training permanently."""
    await execute(_FAIL, [training.id, training.attempts, error.code, error.message])


@translate_connection_errors()
async def succeed(training: Training, result: TrainingResult) -> bool:
    """Store a version, and serve it if so decided; False if the training is no longer this process's."""
    rows = await execute(
        _SUCCEED,
        [
            *(training.id, training.attempts, json.dumps(list(result.labels)), result.examples),
            *(result.examples_sha256, result.base_version, json.dumps(result.metrics), json.dumps(result.answers)),
            *(result.head, result.head_sha256, result.decision, result.is_served),
            *(result.served_before, training.model_id),  # type: ignore[attr-defined]
        ],
    )
    return bool(rows)


@translate_connection_errors()
async def prune(model_id: int) -> None:
    """Delete the weights of all versions except for the newest KEPT_VERSIONS and the one that is served."""
    await execute(_PRUNE, [model_id, KEPT_VERSIONS])


@translate_connection_errors()
async def get(training_id: int) -> Training:
    """A training without its weights and answers. Raises TrainingNotFound."""
    rows = await execute(f"SELECT {_COLUMNS} FROM trainings WHERE id = $1", [training_id])  # noqa: S608 # nosec B608
    if not rows:
        raise TrainingNotFound
    return from_row(Training, rows[0])


@translate_connection_errors()
async def list_for_model(model_id: int, limit: int, *, versions_only: bool = False) -> list[Training]:
    """The newest trainings of a model, newest first; without weights, answers and confusion matrices.

    ``versions_only``: those that have succeeded.
    """
    rows = await execute(_LIST, [model_id, limit, versions_only])
    return [from_row(Training, row) for row in rows]


@translate_connection_errors()
async def report_progress(training: Training, share: float) -> None:
    """Store how much of the work is done, unless another process has it."""
    await execute(
        "UPDATE trainings SET progress = $3 WHERE id = $1 AND attempts = $2 AND status = 'processing'",
        [training.id, training.attempts, share],
    )


@translate_connection_errors()
async def base_version_of(model_id: int, number: int) -> str | None:
    """The version of the base on which a version of a model was trained; None if there is no such version."""
    rows = await execute("SELECT base_version FROM trainings WHERE model_id = $1 AND number = $2", [model_id, number])
    return rows[0]["base_version"] if rows else None


@translate_connection_errors()
async def answers_of(training_id: int) -> list[dict[str, Any]]:
    """What cross-validation answered for each example of a version. Raises TrainingNotFound."""
    rows = await execute("SELECT coalesce(answers, '[]') AS answers FROM trainings WHERE id = $1", [training_id])
    if not rows:
        raise TrainingNotFound
    answers: list[dict[str, Any]] = json.loads(rows[0]["answers"])
    return answers


@translate_connection_errors()
async def head_of(training_id: int) -> bytes:
    """The weights of a version. Raises TrainingNotFound."""
    rows = await execute("SELECT head FROM trainings WHERE id = $1 AND head IS NOT NULL", [training_id])
    if not rows:
        raise TrainingNotFound
    head: bytes = rows[0]["head"]
    return head
