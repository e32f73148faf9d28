"""Comparisons of a second model with the default one, on a share of the uploads.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from app.db.connection import execute
from app.db.crud import audit_log
from app.db.crud.new_predictions import scores_json
from app.db.errors import translate_connection_errors
from app.db.transactions import transaction
from app.domain import MAX_ID, Caller, LabelScore, ShadowNotFound

LOOK_BACK: Final = 10_000
"""The newest predictions, among which those to compare are looked for: a model that is too slow leaves some out."""
LEASE: Final = timedelta(minutes=5)
"""After which another process takes an image: the process that took it has probably ended."""
STEPS: Final = 10_000
"""Of shares."""
SALT: Final = 21
"""Makes the share independent of the random sample of reviews, which is chosen by a hash as well."""
COUNTED: Final = 100_000
"""The newest results that a report counts."""
SHOWN: Final = 30
"""Pairs of labels that are listed."""

_END: Final = "UPDATE shadows SET ended_at = now() WHERE ended_at IS NULL RETURNING model"
_START: Final = """
INSERT INTO shadows (model, share, first_id, started_at, key_id, who)
SELECT $1, $2, coalesce(max(id), 0) + 1, now(), $3, $4 FROM predictions
"""
_ACTIVE: Final = "SELECT id, model, share, first_id FROM shadows WHERE ended_at IS NULL ORDER BY id DESC LIMIT 1"
# Which images belong to the share follows from their IDs, so that all processes agree.
_CLAIM: Final = f"""
INSERT INTO shadow_answers (shadow_id, prediction_id, claimed_at, default_model, default_version, default_label)
SELECT $1, id, now(), model, model_version, all_predictions->0->>'label' FROM predictions
WHERE id >= $2 AND id > (SELECT coalesce(max(id), 0) FROM predictions) - $3
    AND status = 'succeeded' AND model = $4 AND all_predictions IS NOT NULL AND NOT cached
    AND (hashint8extended(id, {SALT}) & {MAX_ID}) % $5 < $6
    AND NOT EXISTS (SELECT FROM shadow_answers WHERE shadow_id = $1 AND prediction_id = predictions.id)
ORDER BY id LIMIT $7
ON CONFLICT DO NOTHING
RETURNING id, prediction_id
"""  # noqa: S608 - numbers of ours # nosec B608
_TAKE_OVER: Final = """
UPDATE shadow_answers SET claimed_at = now()
WHERE id IN (
    SELECT id FROM shadow_answers WHERE shadow_id = $1 AND completed_at IS NULL AND claimed_at < now() - $2::interval
    ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING id, prediction_id
"""
_SAVE: Final = """
UPDATE shadow_answers SET completed_at = now(), model_version = $2, all_predictions = $3::jsonb, error_code = $4
WHERE id = $1 AND completed_at IS NULL
"""
# Only results of the versions that answered last: those of others say nothing about these.
_RESULTS: Final = f"""
WITH newest AS (
    SELECT * FROM shadow_answers WHERE shadow_id = $1 ORDER BY prediction_id DESC LIMIT {COUNTED}
), last AS (
    SELECT default_model, default_version, model_version FROM newest
    WHERE all_predictions IS NOT NULL ORDER BY prediction_id DESC LIMIT 1
), results AS (
    SELECT default_label, answers.all_predictions->0->>'label' AS shadow_label, top_prediction AS truth,
           reviewed_at IS NOT NULL AND NOT EXISTS (
               SELECT FROM examples JOIN custom_models ON custom_models.id = examples.model_id
               WHERE custom_models.name IN (answers.default_model, $2) AND prediction_id = predictions.id
                   AND use = 'learn' AND added_at <= answers.claimed_at
           ) AS is_reviewed,
           coalesce(review_sampled, false) AS is_sampled
    FROM newest AS answers JOIN last USING (default_model, default_version, model_version)
    JOIN predictions ON predictions.id = prediction_id
    WHERE answers.all_predictions IS NOT NULL
)
"""  # noqa: S608 - a number of ours # nosec B608
_COUNTS: Final = """
SELECT count(*) AS compared, count(*) FILTER (WHERE default_label = shadow_label) AS same,
       count(*) FILTER (WHERE is_reviewed) AS reviewed,
       count(*) FILTER (WHERE is_reviewed AND default_label = truth AND shadow_label = truth) AS both,
       count(*) FILTER (WHERE is_reviewed AND default_label = truth AND shadow_label <> truth) AS only_default,
       count(*) FILTER (WHERE is_reviewed AND default_label <> truth AND shadow_label = truth) AS only_shadow,
       count(*) FILTER (WHERE is_reviewed AND is_sampled) AS sampled,
       count(*) FILTER (WHERE is_reviewed AND is_sampled AND default_label = truth AND shadow_label = truth)
           AS sampled_both,
       count(*) FILTER (WHERE is_reviewed AND is_sampled AND default_label = truth AND shadow_label <> truth)
           AS sampled_only_default,
       count(*) FILTER (WHERE is_reviewed AND is_sampled AND default_label <> truth AND shadow_label = truth)
           AS sampled_only_shadow
FROM results
"""
_DIFFERENT: Final = """
SELECT default_label, shadow_label, count(*) AS count FROM results WHERE default_label <> shadow_label
GROUP BY default_label, shadow_label ORDER BY count DESC, default_label, shadow_label LIMIT $3
"""
_FAILED: Final = f"""
SELECT count(*) FILTER (WHERE error_code IS NOT NULL) AS count FROM (
    SELECT error_code FROM shadow_answers WHERE shadow_id = $1 ORDER BY prediction_id DESC LIMIT {COUNTED}
) AS newest
"""  # noqa: S608 - a number of ours # nosec B608
_VERSIONS: Final = """
SELECT default_model, default_version, model_version FROM shadow_answers
WHERE shadow_id = $1 AND all_predictions IS NOT NULL ORDER BY prediction_id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class ActiveShadow:
    """The comparison that runs."""

    id: int
    model: str
    share: float
    first_id: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """An image for the second model."""

    id: int
    prediction_id: int


@dataclass(frozen=True, slots=True)
class Paired:
    """Reviewed images that both models have classified, by who was right."""

    reviewed: int
    both: int
    only_default: int
    only_shadow: int


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """A comparison and its results so far."""

    model: str
    share: float
    started_at: datetime
    ended_at: datetime | None
    who: str
    default_model: str | None
    """None before the first result, as the versions."""
    default_version: str | None
    model_version: str | None
    compared: int
    same: int
    """Results with the same best label."""
    failed: int
    all: Paired
    sample: Paired
    """Those of the random sample of reviews."""
    different: Sequence[tuple[str, str, int]]
    """The most frequent pairs of different labels, of the default model and the other, with their number."""


@translate_connection_errors()
async def start(model: str, share: float, actor: Caller) -> None:
    """Compare a model with the default one from now on; ends another comparison."""
    async with transaction():
        await execute(_END)
        await execute(_START, [model, share, actor.key_id, actor.name])
        await audit_log.record("shadow.started", actor, details={"model": model, "share": share})


@translate_connection_errors()
async def end(actor: Caller) -> None:
    """End the comparison. Raises ShadowNotFound if none runs."""
    async with transaction():
        rows = await execute(_END)
        if not rows:
            raise ShadowNotFound("No model is being compared with the default one.")
        await audit_log.record("shadow.ended", actor, details={"model": rows[0]["model"]})


@translate_connection_errors()
async def active() -> ActiveShadow | None:
    """The comparison that runs, if one does."""
    rows = await execute(_ACTIVE)
    return ActiveShadow(**rows[0]) if rows else None


@translate_connection_errors()
async def claim(shadow: ActiveShadow, default: str, limit: int) -> list[Claimed]:
    """Take images for the second model, oldest first: those that a process has left, and results of ``default``."""
    rows = await execute(_TAKE_OVER, [shadow.id, LEASE, limit])
    if not rows:
        chosen = round(shadow.share * STEPS)
        rows = await execute(_CLAIM, [shadow.id, shadow.first_id, LOOK_BACK, default, STEPS, chosen, limit])
    return [Claimed(**row) for row in rows]


@translate_connection_errors()
async def save(claimed: Claimed, version: str | None, scores: Sequence[LabelScore], error_code: str | None) -> None:
    """Store what the second model says, or why it says nothing."""
    await execute(_SAVE, [claimed.id, version, scores_json(scores) if scores else None, error_code])


@translate_connection_errors()
async def report() -> ShadowReport:
    """The comparison that runs, or else the last one. Raises ShadowNotFound."""
    rows = await execute("SELECT * FROM shadows ORDER BY id DESC LIMIT 1")
    if not rows:
        raise ShadowNotFound
    (shadow,) = rows
    key = [shadow["id"], shadow["model"]]
    (counts,) = await execute(_RESULTS + _COUNTS, key)
    different = await execute(_RESULTS + _DIFFERENT, [*key, SHOWN])
    (failed,) = await execute(_FAILED, [shadow["id"]])
    versions: list[dict[str, Any]] = await execute(_VERSIONS, [shadow["id"]])
    names = versions[0] if versions else dict.fromkeys(("default_model", "default_version", "model_version"))
    return ShadowReport(
        model=shadow["model"],
        share=shadow["share"],
        started_at=shadow["started_at"],
        ended_at=shadow["ended_at"],
        who=shadow["who"],
        **names,
        compared=counts["compared"],
        same=counts["same"],
        failed=failed["count"],
        all=Paired(counts["reviewed"], counts["both"], counts["only_default"], counts["only_shadow"]),
        sample=Paired(
            counts["sampled"], counts["sampled_both"], counts["sampled_only_default"], counts["sampled_only_shadow"]
        ),
        different=[(row["default_label"], row["shadow_label"], row["count"]) for row in different],
    )
