"""Examples of custom models: a label for the image of a prediction.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.db.connection import columns, execute
from app.db.crud.search import Position
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
class EmbeddedExample:
    """An example as training needs it; ``embedding`` is None if it has to be computed."""

    prediction_id: int
    sha256: str
    image_path: str
    label: str
    embedding: bytes | None


# An example of the same prediction is changed, unless it is as wanted. One
# of the same image is kept, and reported if its label differs.
# The model's row is locked, or two batches with the same images in different order would deadlock.
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
INSERT INTO examples (model_id, prediction_id, sha256, label, use, added_at, key_id, who, from_review)
SELECT model.id, found.id, sha256, label, use, now(), $5, $6, $7
FROM found JOIN locked USING (id) CROSS JOIN model ORDER BY position
ON CONFLICT (model_id, sha256) DO UPDATE
SET label = excluded.label, use = excluded.use, added_at = excluded.added_at, key_id = excluded.key_id,
    who = excluded.who, from_review = $7 AND examples.from_review,
    label_before = CASE WHEN $7 AND NOT examples.from_review THEN coalesce(examples.label_before, examples.label) END
WHERE examples.prediction_id = excluded.prediction_id
    AND (examples.label, examples.use, examples.from_review)
        IS DISTINCT FROM (excluded.label, excluded.use, $7 AND examples.from_review)
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
_NEWEST: Final = """
SELECT examples.* FROM unnest(ARRAY(SELECT DISTINCT label FROM examples WHERE model_id = $1)) AS labels (label)
CROSS JOIN LATERAL (
    SELECT * FROM examples WHERE model_id = $1 AND label = labels.label ORDER BY id DESC LIMIT $2
) AS examples
ORDER BY examples.label, examples.id DESC
"""
# By content, so that the same examples give the same head in whichever order they were added.
_EMBEDDED: Final = """
SELECT examples.prediction_id, examples.sha256, image_path, label, vector AS embedding
FROM examples JOIN predictions ON predictions.id = examples.prediction_id
LEFT JOIN embeddings ON embeddings.prediction_id = examples.prediction_id
    AND embeddings.model = $2 AND embeddings.model_version = $3
WHERE model_id = $1 AND use = $4
ORDER BY examples.sha256 LIMIT $5
"""
_SINCE: Final = """
SELECT count(*) AS count FROM examples
WHERE model_id = $1 AND use = 'learn' AND added_at > coalesce((
    SELECT max(coalesce(started_at, requested_at)) FROM trainings WHERE model_id = $1 AND (status <> 'failed' OR $2)
), '-infinity')
"""


@translate_connection_errors()
async def put_all(
    model_id: int, new: Sequence[NewExample], actor: Caller, *, from_review: bool = False
) -> list[Example | Exception]:
    """Add examples, or change those of the same predictions, in one statement.

    Returns the example of each image, PredictionNotFound, or ExampleContradicts if the same image is an example
    with another label already. The same image with the same label stays one example. ``from_review``: undoing the
    review deletes those that are new, and restores the labels of others.
    """
    valid = [(one.prediction_id, one.label, one.use.value) for one in new if one.prediction_id <= MAX_ID]
    if valid:
        await execute(_PUT, [model_id, *columns(valid), actor.key_id, actor.name, from_review])
    rows = await execute(_OF_PICTURES, [model_id, [prediction_id for prediction_id, _, _ in valid]])
    there = {row.pop("asked"): from_row(Example, row) for row in rows}
    return [_result(one, there.get(one.prediction_id)) for one in new]


def _result(wanted: NewExample, there: Example | None) -> Example | Exception:
    if there is None:
        return PredictionNotFound()
    if (there.label, there.use) == (wanted.label, wanted.use):
        return there
    number = prediction_id_of(there)
    if there.use == Use.LEARN:
        return ExampleContradicts(
            f"The same image is an example of {there.label!r} to learn from (prediction {number}). "
            "Change or delete that example."
        )
    return ExampleContradicts(
        f"The same image is an example of {there.label!r} for checks (prediction {number}). "
        "Change or delete that example."
    )


def prediction_id_of(example: Example) -> int:
    """The ID of an example's prediction."""
    number: int = example.prediction_id  # type: ignore[attr-defined]
    return number


@translate_connection_errors()
async def uses_of(model_id: int, prediction_ids: list[int]) -> dict[int, Use]:
    """What the examples among some predictions are for, by prediction."""
    statement = "SELECT prediction_id, use FROM examples WHERE model_id = $1 AND prediction_id = ANY($2)"
    return {row["prediction_id"]: Use(row["use"]) for row in await execute(statement, [model_id, prediction_ids])}


@translate_connection_errors()
async def models_of(prediction_ids: list[int]) -> list[tuple[str, int]]:
    """Names of the models that have examples of some predictions, and the IDs of these."""
    rows = await execute(
        "SELECT name, prediction_id FROM examples JOIN custom_models ON custom_models.id = model_id "
        "WHERE prediction_id = ANY($1)",
        [prediction_ids],
    )
    return [(row["name"], row["prediction_id"]) for row in rows]


@translate_connection_errors()
async def delete_all(model_id: int, prediction_ids: list[int]) -> int:
    """Delete the examples of predictions; returns how many there were."""
    statement = "DELETE FROM examples WHERE model_id = $1 AND prediction_id = ANY($2) RETURNING id"
    valid_ids = [prediction_id for prediction_id in prediction_ids if prediction_id <= MAX_ID]
    return len(await execute(statement, [model_id, valid_ids]))


@translate_connection_errors()
async def counts(model_id: int) -> list[dict[str, Any]]:
    """``label``, ``use`` and ``count`` of a model's examples."""
    return await execute(_COUNTS, [model_id])


@translate_connection_errors()
async def newest_by_label(model_id: int, limit: int) -> dict[str, list[Example]]:
    """The newest examples of each label, at most ``limit`` of each."""
    by_label: dict[str, list[Example]] = {}
    for row in await execute(_NEWEST, [model_id, limit]):
        by_label.setdefault(row["label"], []).append(from_row(Example, row))
    return by_label


@translate_connection_errors()
async def page(
    model_id: int, limit: int, after: Position | None, label: str | None = None, use: Use | None = None
) -> list[Example]:
    """Examples after a position, newest first."""
    (before_id,) = after or (MAX_ID,)
    values = [model_id, before_id, label, use.value if use else None, limit]
    return [from_row(Example, row) for row in await execute(_PAGE, values)]


@translate_connection_errors()
async def embedded(model_id: int, base: str, base_version: str, use: Use, limit: int) -> list[EmbeddedExample]:
    """Examples with one use, in the order of their contents, with their embeddings by a version of the base."""
    rows = await execute(_EMBEDDED, [model_id, base, base_version, use.value, limit])
    return [EmbeddedExample(**row) for row in rows]


@translate_connection_errors()
async def count_since_training(model_id: int, *, even_if_failed: bool = False) -> int:
    """How many examples to learn from were added or changed since the start of the last training.

    ``even_if_failed``: also since one that has failed.
    """
    (row,) = await execute(_SINCE, [model_id, even_if_failed])
    return int(row["count"])
