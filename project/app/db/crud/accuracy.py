"""The accuracy of models, which reviews measure.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from app.db.connection import execute
from app.db.errors import translate_connection_errors

CONFUSIONS: Final = 100
DAYS: Final = 90

# A person's label is true for every model that has classified the image. Each version counts once for an image.
_RESULTS: Final = """
WITH results AS (
    SELECT DISTINCT ON (id, model, model_version)
        id, model, model_version, answer, truth, is_sampled, answered_at{scores}
    FROM (
        SELECT id, model, model_version, all_predictions->0->>'label' AS answer, top_prediction AS truth,
               coalesce(review_sampled, false) AS is_sampled, completed_at AS answered_at, all_predictions AS scores
        FROM predictions WHERE reviewed_at IS NOT NULL AND all_predictions IS NOT NULL
        UNION ALL
        SELECT predictions.id, past.model, past.model_version, past.all_predictions->0->>'label',
               predictions.top_prediction, coalesce(review_sampled, false), past.completed_at, past.all_predictions
        FROM past_answers AS past JOIN predictions ON predictions.id = prediction_id
        WHERE reviewed_at IS NOT NULL AND past.all_predictions IS NOT NULL
        UNION ALL
        SELECT predictions.id, shadows.model, answers.model_version, answers.all_predictions->0->>'label',
               predictions.top_prediction, coalesce(review_sampled, false), answers.completed_at,
               answers.all_predictions
        FROM shadow_answers AS answers JOIN shadows ON shadows.id = shadow_id
        JOIN predictions ON predictions.id = prediction_id
        WHERE reviewed_at IS NOT NULL AND answers.all_predictions IS NOT NULL
    ) AS given
    WHERE ($1::text IS NULL OR model = $1) AND ($2::text IS NULL OR model_version = $2)
        -- A version of a custom model may have learned from the image.
        AND NOT EXISTS (
            SELECT FROM examples JOIN custom_models ON custom_models.id = examples.model_id
            WHERE custom_models.name = given.model AND prediction_id = given.id AND use = 'learn'
                AND added_at <= answered_at
        )
    ORDER BY id, model, model_version, answered_at DESC
)
"""
RESULTS: Final = _RESULTS.format(scores="")
RESULTS_WITH_SCORES: Final = _RESULTS.format(scores=", scores")
"""The model's five best labels as well, which make the rows wide."""
_BY_VERSION: Final = """
SELECT model, model_version, count(*) AS reviewed, count(*) FILTER (WHERE answer = truth) AS correct,
       count(*) FILTER (WHERE is_sampled) AS sampled,
       count(*) FILTER (WHERE is_sampled AND answer = truth) AS sampled_correct, max(answered_at) AS last_result_at
FROM results GROUP BY model, model_version ORDER BY max(answered_at) DESC, model, model_version
"""
_BY_LABEL: Final = """
SELECT label, sum(is_truth)::int AS reviewed, sum(is_predicted)::int AS predicted, sum(is_both)::int AS correct
FROM (
    SELECT truth AS label, 1 AS is_truth, 0 AS is_predicted, (answer = truth)::int AS is_both FROM results
    UNION ALL SELECT answer, 0, 1, 0 FROM results
) AS counted
GROUP BY label ORDER BY reviewed DESC, label
"""
_CONFUSIONS: Final = """
SELECT truth AS actual, answer AS predicted, count(*) AS count FROM results WHERE answer <> truth
GROUP BY truth, answer ORDER BY count DESC, truth, answer LIMIT $3
"""
_BY_DAY: Final = """
SELECT date(answered_at AT TIME ZONE 'UTC') AS day, count(*) AS reviewed,
       count(*) FILTER (WHERE answer = truth) AS correct
FROM results WHERE answered_at > now() - $3 * interval '1 day' GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class VersionAccuracy:
    """Reviews of a version of a model, and how many of them found its label right; ``sampled``: the random sample."""

    model: str
    model_version: str
    reviewed: int
    correct: int
    sampled: int
    sampled_correct: int
    last_result_at: datetime


@dataclass(frozen=True, slots=True)
class LabelAccuracy:
    """Images with a label, images that a model gave it, and those with both."""

    label: str
    reviewed: int
    predicted: int
    correct: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often a model gave a wrong label."""

    actual: str
    predicted: str
    count: int


@dataclass(frozen=True, slots=True)
class DayAccuracy:
    """Reviews of a day's results."""

    day: date
    reviewed: int
    correct: int


@translate_connection_errors()
async def by_version(model: str | None = None) -> list[VersionAccuracy]:
    """Accuracy of each version with reviews, the one that answered last first."""
    return [VersionAccuracy(**row) for row in await execute(RESULTS + _BY_VERSION, [model, None])]


@translate_connection_errors()
async def by_label(model: str, version: str) -> list[LabelAccuracy]:
    """Accuracy of each label, the most frequent first."""
    return [LabelAccuracy(**row) for row in await execute(RESULTS + _BY_LABEL, [model, version])]


@translate_connection_errors()
async def confusions(model: str, version: str) -> list[Confusion]:
    """Wrong labels, the most frequent first."""
    return [Confusion(**row) for row in await execute(RESULTS + _CONFUSIONS, [model, version, CONFUSIONS])]


@translate_connection_errors()
async def by_day(model: str, version: str) -> list[DayAccuracy]:
    """Accuracy of the results of each of the last ``DAYS`` days in UTC, oldest first; without days without reviews."""
    return [DayAccuracy(**row) for row in await execute(RESULTS + _BY_DAY, [model, version, DAYS])]
