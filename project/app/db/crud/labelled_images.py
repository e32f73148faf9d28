"""Images with a person's label: reviewed predictions, and examples of custom models.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.db.connection import execute
from app.db.errors import translate_connection_errors

PAGE: Final = 1_000

# What people say of a prediction comes before what custom models were taught of it.
_LABELLED: Final = """
SELECT id, image_path, filename, sha256, label, source, model, labelled_by, labelled_at
FROM (
    SELECT id, image_path, filename, sha256, top_prediction AS label, verdict AS source, model,
           reviewed_by AS labelled_by, reviewed_at AS labelled_at, 0 AS example
    FROM predictions WHERE reviewed_at IS NOT NULL AND id > $1
    UNION ALL
    SELECT predictions.id, image_path, filename, predictions.sha256, label, 'example', custom_models.name, examples.who,
           added_at, examples.id
    FROM examples JOIN predictions ON predictions.id = prediction_id
    JOIN custom_models ON custom_models.id = examples.model_id
    WHERE predictions.id > $1
) AS labelled
WHERE ($2::text IS NULL OR model = $2)
ORDER BY id, example LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image with a person's label. ``source``: confirmed, corrected or example (of the custom model ``model``)."""

    id: int
    image_path: str
    filename: str
    sha256: str
    label: str
    source: str
    model: str
    labelled_by: str | None
    labelled_at: datetime


async def pages(model: str | None = None) -> AsyncIterator[list[LabelledImage]]:
    """All labelled images, by prediction, in groups of one or more; all labels of an image are in one group."""
    last_id = 0
    while rows := await _after(last_id, model):
        if len(rows) == PAGE and rows[0].id != rows[-1].id:
            # The rows of the last prediction may continue on the next page.
            rows = [row for row in rows if row.id != rows[-1].id]
        last_id = rows[-1].id
        yield rows


@translate_connection_errors()
async def _after(last_id: int, model: str | None) -> list[LabelledImage]:
    rows: list[dict[str, Any]] = await execute(_LABELLED, [last_id, model, PAGE])
    return [LabelledImage(**row) for row in rows]
