"""Custom models: their names, bases and labels, and which version is served.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.db.connection import execute
from app.db.crud import audit_log, decision_thresholds
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.db.transactions import transaction
from app.domain import MAX_LABELS, Caller, LabelUnknown, ModelExists, ModelUnknown, VersionUnknown
from app.models.tortoise import CustomModel


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """The version of a custom model that answers; ``training_id`` is None before the first one."""

    name: str
    base: str
    base_version: str | None
    training_id: int | None
    number: int | None
    head_sha256: str | None
    labels: Sequence[str]
    names_hash: str | None
    """Of the names and categories of labels, if there are some."""

    @property
    def version(self) -> str:
        """Name of the version, which its predictions have: its number and its weights."""
        return version_name(self.number or 0, self.head_sha256 or "")


def version_name(number: int, head_sha256: str) -> str:
    """Name of a version: its number, and the beginning of its weights' SHA-256."""
    return f"{number}-{head_sha256[:12]}"


_CREATE: Final = """
WITH new AS (
    INSERT INTO custom_models (name, base, labels, retrain_after, created_at, key_id, who)
    VALUES ($1, $2, $3::jsonb, $4, now(), $5, $6)
    ON CONFLICT (name) DO NOTHING RETURNING *
), noted AS (
    INSERT INTO changes (changed_at, key_id, who, address, action, subject_id, after)
    SELECT now(), $5, $6, $7, 'model.created', id, jsonb_build_object('name', name, 'base', base, 'labels', labels)
    FROM new
)
SELECT * FROM new
"""
_DELETE: Final = """
WITH gone AS (
    DELETE FROM custom_models WHERE name = $1 RETURNING *
), noted AS (
    INSERT INTO changes (changed_at, key_id, who, address, action, subject_id, before)
    SELECT now(), $2, $3, $4, 'model.deleted', id, jsonb_build_object('name', name, 'base', base, 'labels', labels)
    FROM gone
)
SELECT id FROM gone
"""
_ADD_LABELS: Final = """
UPDATE custom_models SET labels = labels || (
    SELECT coalesce(jsonb_agg(label ORDER BY position), '[]'::jsonb)
    FROM unnest($2::text[]) WITH ORDINALITY AS new (label, position) WHERE NOT labels ? label
)
WHERE id = $1 AND $3 >= jsonb_array_length(labels) + (
    SELECT count(*) FROM unnest($2::text[]) AS new (label) WHERE NOT labels ? label
)
RETURNING *
"""
_SERVED: Final = """
SELECT name, base, base_version, training_id, number, head_sha256, custom_models.labels::text AS labels,
       md5(label_names) AS names_hash
FROM custom_models LEFT JOIN trainings ON trainings.id = training_id
ORDER BY name
"""
_SERVE: Final = """
WITH chosen AS (
    SELECT trainings.id, model_id, number, training_id AS before
    FROM trainings JOIN custom_models ON custom_models.id = model_id
    WHERE name = $1 AND number = $2 AND head IS NOT NULL FOR UPDATE OF custom_models
), noted AS (
    INSERT INTO changes (changed_at, key_id, who, address, action, subject_id, before, after)
    SELECT now(), $3, $4, $5, 'model.served', model_id,
           jsonb_build_object('version', (SELECT number FROM trainings WHERE id = before)),
           jsonb_build_object('version', number)
    FROM chosen WHERE before IS DISTINCT FROM id
), explained AS (
    -- The reason for which it was not served at first is no longer the last word.
    UPDATE trainings SET decision = replace(decision, ' Not served.', ' Served by ' || $4 || '.')
    FROM chosen WHERE trainings.id = chosen.id
)
UPDATE custom_models SET training_id = chosen.id FROM chosen WHERE custom_models.id = model_id
RETURNING custom_models.*
"""


@translate_connection_errors()
async def create(name: str, base: str, labels: Sequence[str], retrain_after: int, actor: Caller) -> CustomModel:
    """Create a model. Raises ModelExists."""
    values = [name, base, json.dumps(list(labels)), retrain_after, actor.key_id, actor.name, actor.address or None]
    rows = await execute(_CREATE, values)
    if not rows:
        raise ModelExists
    return from_row(CustomModel, rows[0])


@translate_connection_errors()
async def get(name: str) -> CustomModel:
    """A model by name. Raises ModelUnknown."""
    rows = await execute("SELECT * FROM custom_models WHERE name = $1", [name])
    if not rows:
        raise ModelUnknown(f"There is no custom model named {name!r}.")
    return from_row(CustomModel, rows[0])


@translate_connection_errors()
async def get_by_id(model_id: int) -> CustomModel:
    """A model by ID. Raises ModelUnknown."""
    rows = await execute("SELECT * FROM custom_models WHERE id = $1", [model_id])
    if not rows:
        raise ModelUnknown
    return from_row(CustomModel, rows[0])


@translate_connection_errors()
async def delete(name: str, actor: Caller) -> None:
    """Delete a model with its examples and versions; predictions keep their answers. Raises ModelUnknown.

    What was chosen for it is deleted, too: another model may get its name.
    """
    async with transaction():
        if not await execute(_DELETE, [name, actor.key_id, actor.name, actor.address or None]):
            raise ModelUnknown(f"There is no custom model named {name!r}.")
        await decision_thresholds.outdate_results(name, forget=True)
        if await execute("UPDATE installation SET default_model = NULL WHERE default_model = $1 RETURNING id", [name]):
            await audit_log.record("model.default_chosen", actor, details={"before": name, "after": None})
        await execute("UPDATE shadows SET ended_at = now() WHERE model = $1 AND ended_at IS NULL", [name])


@translate_connection_errors()
async def add_labels(model_id: int, labels: Sequence[str]) -> list[str]:
    """Add labels to a model, unless it has them; returns all of its labels. Raises ModelUnknown or LabelUnknown."""
    rows = await execute(_ADD_LABELS, [model_id, list(labels), MAX_LABELS])
    if not rows:
        await get_by_id(model_id)
        raise LabelUnknown(f"A model has at most {MAX_LABELS} labels.")
    return from_row(CustomModel, rows[0]).labels


@translate_connection_errors()
async def label_names(hashes: Sequence[str]) -> dict[str, str]:
    """Names and categories of labels, as JSON, by their hashes."""
    rows = await execute(
        "SELECT md5(label_names) AS hash, label_names AS names FROM custom_models WHERE md5(label_names) = ANY($1)",
        [list(hashes)],
    )
    return {row["hash"]: row["names"] for row in rows}


@translate_connection_errors()
async def name_labels(model: CustomModel, names: str, actor: Caller) -> None:
    """Set the names and categories of a model's labels, as JSON."""
    async with transaction():
        await execute("UPDATE custom_models SET label_names = $2 WHERE id = $1", [model.id, names])
        # Results that were cached before have other categories.
        await decision_thresholds.outdate_results(model.name, forget=False)
        await audit_log.record("model.labels_named", actor, model.id, {"name": model.name})


@translate_connection_errors()
async def served() -> list[ServedVersion]:
    """The served version of every model."""
    return [ServedVersion(**{**row, "labels": json.loads(row["labels"])}) for row in await execute(_SERVED)]


@translate_connection_errors()
async def serve(name: str, number: int, actor: Caller) -> CustomModel:
    """Serve a version of a model. Raises ModelUnknown or VersionUnknown."""
    rows = await execute(_SERVE, [name, number, actor.key_id, actor.name, actor.address or None])
    if not rows:
        await get(name)
        raise VersionUnknown(f"The model {name!r} has no version {number} that can be served.")
    return from_row(CustomModel, rows[0])
