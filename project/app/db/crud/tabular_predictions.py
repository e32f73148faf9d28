"""Stored results of tabular models."""

import json
from dataclasses import dataclass
from typing import Final

from app.db import columns, execute, translate_connection_errors


@dataclass(frozen=True, slots=True)
class TabularAnswer:
    """A tabular model's result for one row of features."""

    model: str
    model_version: str
    features: dict[str, float]
    label: str
    probabilities: dict[str, float]
    cached: bool


_LOG_TABULAR: Final = """
INSERT INTO tabular_predictions (model, model_version, features, label, probabilities, cached, created_at)
SELECT new.model, new.model_version, new.features::jsonb, new.label, new.probabilities::jsonb, new.cached, now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bool[])
    AS new (model, model_version, features, label, probabilities, cached)
"""


@translate_connection_errors()
async def add_all(answers: list[TabularAnswer]) -> None:
    """Store results in one statement. Raises DatabaseUnavailable."""
    rows = [
        (
            *(one.model, one.model_version, json.dumps(one.features), one.label),
            *(json.dumps(one.probabilities), one.cached),
        )
        for one in answers
    ]
    await execute(_LOG_TABULAR, columns(rows))
