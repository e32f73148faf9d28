"""Stored results of tabular models."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.db.connection import columns, execute
from app.db.errors import translate_connection_errors


@dataclass(frozen=True, slots=True)
class TabularResult:
    """A tabular model's result for one row of features."""

    model: str
    model_version: str
    features: dict[str, float]
    label: str
    probabilities: dict[str, float]
    cached: bool


_INSERT: Final = """
INSERT INTO tabular_predictions (model, model_version, features, label, probabilities, cached, created_at)
SELECT new.model, new.model_version, new.features::jsonb, new.label, new.probabilities::jsonb, new.cached, now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bool[])
    AS new (model, model_version, features, label, probabilities, cached)
"""


@translate_connection_errors()
async def add_all(results: list[TabularResult]) -> None:
    """Store results in one statement. Raises DatabaseUnavailable."""
    rows = [
        (
            *(result.model, result.model_version, json.dumps(result.features), result.label),
            *(json.dumps(result.probabilities), result.cached),
        )
        for result in results
    ]
    await execute(_INSERT, columns(rows))


@translate_connection_errors()
async def delete_older_than(age: timedelta) -> None:
    """Delete old results. Raises DatabaseUnavailable."""
    await execute("DELETE FROM tabular_predictions WHERE created_at < now() - $1::interval", [age])
