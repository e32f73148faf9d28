"""Thresholds for sure results that people choose instead of those in the models' manifests.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

import json
from typing import Any, Final

from app.db.connection import execute
from app.db.crud import audit_log
from app.db.errors import translate_connection_errors
from app.db.transactions import transaction
from app.domain import Caller, Thresholds
from app.models.tortoise import DecisionThreshold

_CHOOSE: Final = """
INSERT INTO decision_thresholds (model, sure_from, labels, precision, chosen_at, key_id, who)
VALUES ($1, $2, $3::jsonb, $4, now(), $5, $6)
ON CONFLICT (model) DO UPDATE
SET sure_from = $2, labels = $3::jsonb, precision = $4, chosen_at = now(), key_id = $5, who = $6
"""

_OUTDATE: Final = """
INSERT INTO decision_thresholds (model, labels, chosen_at, who) VALUES ($1, '{}', now(), '')
ON CONFLICT (model) DO UPDATE SET chosen_at = now()
"""
_OUTDATE_AND_FORGET: Final = f"{_OUTDATE.rstrip()}, sure_from = NULL, labels = '{{}}', precision = NULL"


@translate_connection_errors()
async def chosen() -> dict[str, Thresholds]:
    """The thresholds that people chose, by model."""
    rows = await DecisionThreshold.exclude(sure_from=None)
    return {row.model: Thresholds(row.sure_from, row.labels) for row in rows if row.sure_from is not None}


@translate_connection_errors()
async def get(model: str) -> DecisionThreshold | None:
    """The thresholds that people chose for a model, if they did."""
    return await DecisionThreshold.get_or_none(model=model)


@translate_connection_errors()
async def choose(model: str, thresholds: Thresholds | None, precision: float | None, actor: Caller) -> None:
    """Use thresholds for a model, or with None those of its manifest again.

    ``precision``: the share of right results for which they were chosen from reviews.
    """
    async with transaction():
        before = await DecisionThreshold.select_for_update().get_or_none(model=model)
        sure_from, labels = (thresholds.sure_from, dict(thresholds.labels)) if thresholds else (None, {})
        # A row also remembers when the manifest's came back: cached results of before have other decisions.
        await execute(_CHOOSE, [model, sure_from, json.dumps(labels), precision, actor.key_id, actor.name])
        old = Thresholds(before.sure_from, before.labels) if before and before.sure_from is not None else None
        details = {"model": model, "before": _described(old), "after": _described(thresholds)}
        await audit_log.record("model.threshold_chosen", actor, details=details)


@translate_connection_errors()
async def outdate_results(model: str, *, forget: bool) -> None:
    """Have images classified again whose results were cached before.

    ``forget``: the model's thresholds are no longer chosen.
    """
    await execute(_OUTDATE_AND_FORGET if forget else _OUTDATE, [model])


def _described(thresholds: Thresholds | None) -> dict[str, Any] | None:
    return {"sure_from": thresholds.sure_from, "labels": dict(thresholds.labels)} if thresholds else None
