"""Earlier results of predictions that were classified again.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from typing import Final

from app.db.connection import execute
from app.db.crud import predictions
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import MAX_ID, PredictionUnfinished
from app.models.tortoise import PastAnswer, Prediction

# One statement moves the result into the history and makes the row pending. A person's label stays.
_RECLASSIFY: Final = """
WITH old AS (
    SELECT *, corrected_at IS NOT NULL OR reviewed_at IS NOT NULL AS is_labelled
    FROM predictions WHERE id = $1 AND status IN ('succeeded', 'failed') FOR UPDATE
), past AS (
    INSERT INTO past_answers (prediction_id, status, top_prediction, confidence, all_predictions, model, model_version,
                              error_code, error_message, attempts, started_at, completed_at, corrected_at, replaced_at)
    SELECT id, status, top_prediction, confidence, all_predictions, model, model_version,
           error_code, error_message, attempts, started_at, completed_at, corrected_at, now() FROM old
)
UPDATE predictions
SET status = 'pending', model = $2, model_version = $3, attempts = 0, interruptions = 0, lease_expires_at = NULL,
    all_predictions = NULL, categories = NULL, decision = NULL, error_code = NULL, error_message = NULL,
    started_at = NULL, completed_at = NULL, cached = false,
    top_prediction = CASE WHEN is_labelled THEN old.top_prediction END,
    confidence = CASE WHEN is_labelled THEN old.confidence END
FROM old WHERE predictions.id = old.id
RETURNING predictions.*
"""


@translate_connection_errors()
async def reclassify(prediction_id: int, model: str, model_version: str) -> Prediction:
    """Move a finished prediction's result into its history and make it pending for another model.

    A person's label and confidence stay. Raises PredictionNotFound, or PredictionUnfinished if there is no result yet.
    """
    rows = prediction_id <= MAX_ID and await execute(_RECLASSIFY, [prediction_id, model, model_version])
    if not rows:
        await predictions.get(prediction_id)
        raise PredictionUnfinished
    return from_row(Prediction, rows[0])


@translate_connection_errors()
async def previous_results(prediction_id: int) -> list[PastAnswer]:
    """Earlier results of a prediction, newest first. Raises PredictionNotFound."""
    await predictions.get(prediction_id)
    rows = await execute("SELECT * FROM past_answers WHERE prediction_id = $1 ORDER BY id DESC", [prediction_id])
    return [from_row(PastAnswer, row) for row in rows]
