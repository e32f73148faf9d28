"""Reviewed confidences of models, and what was computed from them.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.db.connection import execute
from app.db.crud.accuracy import RESULTS_WITH_SCORES
from app.db.errors import translate_connection_errors

MAX_REVIEWS: Final = 5_000
"""The newest reviewed results that are used."""
LOOK_BACK: Final = 100_000
"""The model's newest predictions, of any version, among which those of one are looked for."""
MAX_POPULATION: Final = 20_000
"""The newest predictions whose confidences show how often each occurs."""

_REVIEWED: Final = """
SELECT scores::text AS scores, answer = truth AS is_correct FROM results ORDER BY answered_at DESC LIMIT $3
"""
_POPULATION: Final = f"""
SELECT (all_predictions->0->>'confidence')::float8 AS confidence FROM (
    SELECT * FROM predictions WHERE model = $1 ORDER BY id DESC LIMIT {LOOK_BACK}
) AS newest
WHERE model_version = $2 AND status = 'succeeded' ORDER BY id DESC LIMIT $3
"""  # noqa: S608 - a number of ours # nosec B608
_SAVE: Final = """
INSERT INTO calibrations (model, model_version, reviews, correct, labels, temperature, computed_at)
VALUES ($1, $2, $3, $4, $5, $6, now())
ON CONFLICT (model, model_version) DO UPDATE
SET reviews = $3, correct = $4, labels = $5, temperature = $6, computed_at = now()
"""
_FORGET_OTHERS: Final = """
DELETE FROM calibrations
WHERE NOT EXISTS (
    SELECT FROM unnest($1::text[], $2::text[]) AS kept (name, version) WHERE name = model AND version = model_version
)
"""


@dataclass(frozen=True, slots=True)
class ReviewedScores:
    """The newest reviewed results of a version of a model."""

    scores: list[str]
    """The best labels of each with their confidences, as JSON."""
    correct: list[bool]
    """Whether people say that the best label is right."""
    population: list[float]
    """Confidences of the newest predictions, reviewed or not."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """What the logits of a version of a model are divided by, and the number of its labels."""

    value: float
    labels: int


@translate_connection_errors()
async def reviewed(model: str, version: str) -> ReviewedScores:
    """What the model said, and whether people say that it is right."""
    rows = await execute(RESULTS_WITH_SCORES + _REVIEWED, [model, version, MAX_REVIEWS])
    population = await execute(_POPULATION, [model, version, MAX_POPULATION])
    return ReviewedScores(
        [row["scores"] for row in rows],
        [row["is_correct"] for row in rows],
        [row["confidence"] for row in population],
    )


@translate_connection_errors()
async def state_of_reviews() -> tuple[int, datetime | None]:
    """Number of reviewed predictions, and when the last one was reviewed: it changes with the reviews."""
    (row,) = await execute(
        "SELECT count(*) AS count, max(reviewed_at) AS last FROM predictions WHERE reviewed_at IS NOT NULL"
    )
    return row["count"], row["last"]


@translate_connection_errors()
async def save(model: str, version: str, reviews: int, correct: int, labels: int, temperature: float | None) -> None:
    """Store the temperature of a version of a model with a number of labels; None: there are too few reviews."""
    await execute(_SAVE, [model, version, reviews, correct, labels, temperature])


@translate_connection_errors()
async def keep_only(versions: list[tuple[str, str]]) -> None:
    """Delete calibrations of versions without reviews, by names and versions of those that have some."""
    await execute(_FORGET_OTHERS, [[name for name, _ in versions], [version for _, version in versions]])


@translate_connection_errors()
async def temperatures() -> dict[tuple[str, str], Temperature]:
    """All temperatures, by name and version of the model."""
    rows = await execute(
        "SELECT model, model_version, labels, temperature FROM calibrations WHERE temperature IS NOT NULL"
    )
    return {(row["model"], row["model_version"]): Temperature(row["temperature"], row["labels"]) for row in rows}
