"""Examples of custom models: a label for the picture of a prediction.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.db.connection import columns, execute
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import MAX_ID, Caller, ExampleContradicts, PredictionNotFound, Use
from app.models.tortoise import Example


@dataclass(frozen=True, slots=True)
class NewExample:
    """An example to add."""

    prediction_id: int
    label: str
    use: Use


@dataclass(frozen=True, slots=True)
class LearnedExample:
    """An example as training needs it; ``embedding`` is None if it has to be computed."""

    prediction_id: int
    sha256: str
    image_path: str
    label: str
    embedding: bytes | None


# An example of the same prediction is changed. One of the same picture is kept, and reported if its label differs.
# The model's row is locked, or two batches with the same pictures in different order would deadlock.
_PUT: Final = """
WITH model AS (
    SELECT id FROM custom_models WHERE id = $1 FOR NO KEY UPDATE
), wanted AS (
    SELECT * FROM unnest($2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY AS wanted (id, label, use, position)
), found AS (
    SELECT DISTINCT ON (sha256) wanted.id, sha256, wanted.label, wanted.use, position
    FROM wanted JOIN predictions USING (id) ORDER BY sha256, position
), locked AS (
    SELECT id FROM predictions WHERE id IN (SELECT id FROM found) ORDER BY id FOR KEY SHARE
)
INSERT INTO examples (model_id, prediction_id, sha256, label, use, added_at, key_id, who)
SELECT model.id, found.id, sha256, label, use, now(), $5, $6
FROM found JOIN locked USING (id) CROSS JOIN model ORDER BY position
ON CONFLICT (model_id, sha256) DO UPDATE
SET label = excluded.label, use = excluded.use, added_at = excluded.added_at, key_id = excluded.key_id,
    who = excluded.who
WHERE examples.prediction_id = excluded.prediction_id
"""
_OF_PICTURES: Final = """
SELECT predictions.id AS asked, examples.* FROM predictions
JOIN examples ON examples.sha256 = predictions.sha256 AND model_id = $1
WHERE predictions.id = ANY($2)
"""
_COUNTS: Final = """
SELECT label, use, count(*) AS count FROM examples WHERE model_id = $1 GROUP BY label, use ORDER BY label, use
"""
_PAGE: Final = """
SELECT * FROM examples
WHERE model_id = $1 AND id < $2 AND ($3::text IS NULL OR label = $3) AND ($4::text IS NULL OR use = $4)
ORDER BY id DESC LIMIT $5
"""
# By content, so that the same examples give the same head in whichever order they were added.
_LEARNED: Final = """
SELECT examples.prediction_id, examples.sha256, image_path, label, vector AS embedding
FROM examples JOIN predictions ON predictions.id = examples.prediction_id
LEFT JOIN embeddings ON embeddings.prediction_id = examples.prediction_id
    AND embeddings.model = $2 AND embeddings.model_version = $3
WHERE model_id = $1 AND use = 'learn'
ORDER BY examples.sha256
"""
_SINCE: Final = """
SELECT count(*) AS count FROM examples
WHERE model_id = $1 AND use = 'learn' AND added_at > coalesce(
    (SELECT max(coalesce(started_at, requested_at)) FROM trainings WHERE model_id = $1), '-infinity')
"""


@translate_connection_errors()
async def put_all(model_id: int, new: Sequence[NewExample], actor: Caller) -> list[Example | Exception]:
    """Add examples, or change those of the same predictions, in one statement.

    Returns the example of each picture, PredictionNotFound, or ExampleContradicts if the same picture is an example
    with another label already. The same picture with the same label stays one example.
    """
    valid = [(one.prediction_id, one.label, one.use.value) for one in new if one.prediction_id <= MAX_ID]
    if valid:
        await execute(_PUT, [model_id, *columns(valid), actor.key_id, actor.name])
    rows = await execute(_OF_PICTURES, [model_id, [prediction_id for prediction_id, _, _ in valid]])
    there = {row.pop("asked"): from_row(Example, row) for row in rows}
    return [_result(one, there.get(one.prediction_id)) for one in new]


def _result(wanted: NewExample, there: Example | None) -> Example | Exception:
    if there is None:
        return PredictionNotFound()
    if (there.label, there.use) == (wanted.label, wanted.use) or there.label == wanted.label:
        return there
    return ExampleContradicts(
        f"The same picture is an example of {there.label!r} already, as prediction {prediction_id_of(there)}: "
        "change or delete that example."
    )


def prediction_id_of(example: Example) -> int:
    """The ID of an example's prediction."""
    number: int = example.prediction_id  # type: ignore[attr-defined]
    return number


@translate_connection_errors()
async def delete(model_id: int, prediction_id: int) -> bool:
    """Delete the example of a prediction; False if there is none."""
    if prediction_id > MAX_ID:
        return False
    rows = await execute(
        "DELETE FROM examples WHERE model_id = $1 AND prediction_id = $2 RETURNING id", [model_id, prediction_id]
    )
    return bool(rows)


@translate_connection_errors()
async def counts(model_id: int) -> list[dict[str, Any]]:
    """``label``, ``use`` and ``count`` of a model's examples."""
    return await execute(_COUNTS, [model_id])


@translate_connection_errors()
async def page(
    model_id: int, limit: int, before_id: int | None, label: str | None = None, use: Use | None = None
) -> list[Example]:
    """Examples older than ``before_id``, newest first."""
    values = [model_id, before_id or MAX_ID, label, use.value if use else None, limit]
    return [from_row(Example, row) for row in await execute(_PAGE, values)]


@translate_connection_errors()
async def learned(model_id: int, base: str, base_version: str) -> list[LearnedExample]:
    """All examples that a model learns from, with their embeddings by a version of its base."""
    return [LearnedExample(**row) for row in await execute(_LEARNED, [model_id, base, base_version])]


@translate_connection_errors()
async def count_since_training(model_id: int) -> int:
    """How many examples to learn from were added or changed since the last training was requested or started."""
    (row,) = await execute(_SINCE, [model_id])
    return int(row["count"])
