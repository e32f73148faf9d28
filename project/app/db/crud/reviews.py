"""Reviews of predictions, and the review queue.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.db.connection import execute
from app.db.crud.search import Filters
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import MAX_ID, Caller
from app.models.tortoise import Prediction

NO_FILTERS: Final = Filters()
SAMPLE_SHARE: Final = 10
"""One in so many predictions belongs to the random sample. The indexes of migration 14 contain this number."""
_NO_EXAMPLE: Final = "NOT EXISTS (SELECT FROM examples WHERE prediction_id = predictions.id)"
"""Examples of custom models have a person's label already."""
_IN_SAMPLE: Final = f"hashint8(predictions.id) % {SAMPLE_SHARE} = 0"

# Conditions and orders of the indexes of migration 14.
_UNREVIEWED: Final = """
SELECT * FROM predictions
WHERE status = 'succeeded' AND reviewed_at IS NULL AND hashint8(id) % {share} {operator} 0{conditions}
    AND {no_example}
ORDER BY {order}, id LIMIT $1
"""
_COUNT: Final = """
SELECT count(*) AS count FROM predictions
WHERE status = 'succeeded' AND reviewed_at IS NULL{conditions} AND {no_example}
"""
# A change and its audit entry are one statement, so neither exists without the other. Rows are locked in ID order, or
# two reviews of the same predictions would deadlock. Without a label, the model's own is right.
_REVIEW: Final = """
WITH old AS (
    SELECT *, all_predictions->0->>'label' AS own, (all_predictions->0->>'confidence')::float8 AS own_confidence
    FROM predictions WHERE {which} ORDER BY id FOR NO KEY UPDATE
), new AS (
    SELECT id, coalesce($1::text, own) AS label,
           CASE WHEN coalesce($1::text, own) = own THEN 'confirmed' ELSE 'corrected' END AS verdict,
           coalesce($2::float8, CASE WHEN coalesce($1::text, own) = own THEN own_confidence ELSE 1 END) AS confidence,
           CASE WHEN coalesce($1::text, own) = own AND $2::float8 IS NULL THEN NULL ELSE now() END AS corrected_at
    FROM old WHERE coalesce($1::text, own) IS NOT NULL
), noted AS (
    INSERT INTO changes (changed_at, key_id, who, address, action, subject_id, before, after)
    SELECT now(), $3::bigint, $4::text, $5::text, 'prediction.' || new.verdict, id,
           jsonb_build_object('top_prediction', old.top_prediction, 'confidence', old.confidence,
                              'corrected_at', old.corrected_at, 'verdict', old.verdict),
           jsonb_build_object('top_prediction', label, 'confidence', new.confidence,
                              'corrected_at', new.corrected_at, 'verdict', new.verdict)
    FROM old JOIN new USING (id) ORDER BY id
)
UPDATE predictions
SET top_prediction = new.label, confidence = new.confidence, corrected_at = new.corrected_at, verdict = new.verdict,
    reviewed_at = now(), reviewed_by = $4::text,
    review_sampled = coalesce(review_sampled, false) OR ($6::bool AND {in_sample})
FROM new WHERE predictions.id = new.id
RETURNING predictions.*
"""
_UNDO: Final = """
WITH old AS (
    SELECT *, all_predictions->0->>'label' AS own, (all_predictions->0->>'confidence')::float8 AS own_confidence
    FROM predictions WHERE {which} AND reviewed_at IS NOT NULL ORDER BY id FOR NO KEY UPDATE
), noted AS (
    INSERT INTO changes (changed_at, key_id, who, address, action, subject_id, before, after)
    SELECT now(), $1::bigint, $2::text, $3::text, 'prediction.unreviewed', id,
           jsonb_build_object('top_prediction', top_prediction, 'confidence', confidence,
                              'corrected_at', corrected_at, 'verdict', verdict),
           jsonb_build_object('top_prediction', own, 'confidence', own_confidence,
                              'corrected_at', NULL, 'verdict', NULL)
    FROM old ORDER BY id
), forgotten AS (
    -- What a custom model learned from this review, but not what it knew before.
    DELETE FROM examples USING old WHERE examples.prediction_id = old.id AND from_review
), restored AS (
    UPDATE examples SET label = label_before, label_before = NULL
    FROM old WHERE examples.prediction_id = old.id AND label_before IS NOT NULL
)
UPDATE predictions
SET top_prediction = own, confidence = own_confidence, corrected_at = NULL, verdict = NULL,
    reviewed_at = NULL, reviewed_by = NULL, review_sampled = NULL
FROM old WHERE predictions.id = old.id
RETURNING predictions.*
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Predictions by ID, or the first ``limit`` finished ones that match filters and are reviewed, or not.

    Without examples of custom models, and without those of the random sample that are not reviewed: reviewing only some
    of them by filter would bias it.
    """

    ids: Sequence[int] | None = None
    filters: Filters = NO_FILTERS
    are_reviewed: bool = False
    limit: int | None = None

    def condition(self, values: list[Any]) -> str:
        """SQL condition; its parameters are appended to ``values``."""
        if self.ids is not None:
            values.append([prediction_id for prediction_id in self.ids if prediction_id <= MAX_ID])
            return f"id = ANY(${len(values)})"
        is_reviewed = "reviewed_at IS NOT NULL"
        if not self.are_reviewed:
            is_reviewed = f"reviewed_at IS NULL AND NOT {_IN_SAMPLE} AND {_NO_EXAMPLE}"
        conditions = " AND ".join(["status = 'succeeded'", is_reviewed, *self.filters.conditions(values)])
        values.append(self.limit)
        limit = f"ORDER BY id LIMIT ${len(values)}"
        # The outer condition is checked again if another review of the same prediction comes first.
        return f"{is_reviewed} AND id IN (SELECT id FROM predictions WHERE {conditions} {limit})"  # noqa: S608 - parameters # nosec B608


@dataclass(frozen=True, slots=True)
class Unreviewed:
    """A prediction to review; ``is_sampled``: as part of the random sample."""

    prediction: Prediction
    is_sampled: bool


@translate_connection_errors()
async def review(
    selection: Selection,
    label: str | None,
    actor: Caller,
    *,
    confidence: float | None = None,
    is_sampled: bool = False,
) -> list[Prediction]:
    """Set a person's label, or without one confirm the model's own; returns the predictions that were reviewed.

    The model's result stays in ``all_predictions``. ``confidence``: the person's; by default the model's if its label
    is right, or else 1. ``is_sampled``: they were shown as part of the random sample; others are not marked as such.
    Predictions without a result cannot be confirmed, and are left out.
    """
    values: list[Any] = [label, confidence, actor.key_id, actor.name, actor.address or None, is_sampled]
    return await _changed(_REVIEW, selection, values)


@translate_connection_errors()
async def undo(selection: Selection, actor: Caller) -> list[Prediction]:
    """Undo reviews: the model's own label is the top label again, and examples that they have added are deleted.

    Returns the predictions that had been reviewed.
    """
    return await _changed(_UNDO, selection, [actor.key_id, actor.name, actor.address or None])


async def _changed(statement: str, selection: Selection, values: list[Any]) -> list[Prediction]:
    which = selection.condition(values)
    rows = await execute(statement.format(which=which, in_sample=_IN_SAMPLE), values)
    return sorted((from_row(Prediction, row) for row in rows), key=lambda prediction: prediction.id)


@translate_connection_errors()
async def count(selection: Selection) -> int:
    """Number of predictions of a selection, without its limit."""
    values: list[Any] = []
    condition = replace(selection, limit=None).condition(values)
    (row,) = await execute(f"SELECT count(*) AS count FROM predictions WHERE {condition}", values)  # noqa: S608 - see above # nosec B608
    return int(row["count"])


@translate_connection_errors()
async def unreviewed(limit: int, filters: Filters = NO_FILTERS) -> list[Unreviewed]:
    """Predictions to review: one in ``SAMPLE_SHARE`` from the random sample, the others by confidence, lowest first.

    A tenth of all predictions belongs to the random sample, and is only listed as such. Its order is random as well, so
    that what is reviewed of it represents all.
    """
    sample = await _unreviewed(limit // SAMPLE_SHARE, filters, is_sampled=True)
    uncertain = await _unreviewed(limit - len(sample), filters, is_sampled=False)
    if len(uncertain) + len(sample) < limit:
        # Nothing else is left.
        sample = await _unreviewed(limit - len(uncertain), filters, is_sampled=True)
    return [*uncertain, *sample]


async def _unreviewed(limit: int, filters: Filters, *, is_sampled: bool) -> list[Unreviewed]:
    statement, values = queue_statement(limit, filters, is_sampled=is_sampled)
    return [Unreviewed(from_row(Prediction, row), is_sampled) for row in await execute(statement, values)]


def queue_statement(limit: int, filters: Filters, *, is_sampled: bool) -> tuple[str, list[Any]]:
    """SQL of the predictions to review, and its parameters: the random sample, or the others."""
    values: list[Any] = [limit]
    statement = _UNREVIEWED.format(
        share=SAMPLE_SHARE,
        operator="=" if is_sampled else "<>",
        conditions="".join(f" AND {condition}" for condition in filters.conditions(values)),
        order="hashint8(id)" if is_sampled else "confidence",
        no_example=_NO_EXAMPLE,
    )
    return statement, values


@translate_connection_errors()
async def count_unreviewed(filters: Filters = NO_FILTERS) -> int:
    """Number of predictions to review."""
    values: list[Any] = []
    conditions = "".join(f" AND {condition}" for condition in filters.conditions(values))
    (row,) = await execute(_COUNT.format(conditions=conditions, no_example=_NO_EXAMPLE), values)
    return int(row["count"])
