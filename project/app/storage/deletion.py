"""Deletes predictions together with their images."""

from collections.abc import Sequence
from contextlib import suppress

from app.db.crud import dump, predictions
from app.db.crud.predictions import DeletedPrediction
from app.domain import Caller, DatabaseUnavailable, PredictionNotFound
from app.storage import Storage
from app.storage.renditions import Renditions


async def delete_predictions(
    storage: Storage, renditions: Renditions, prediction_ids: Sequence[int], actor: Caller
) -> list[DeletedPrediction]:
    """Delete rows, images and what was rendered of them on this machine; missing predictions are ignored.

    Raises DatabaseUnavailable. Images that cannot be deleted are logged, and the sweeper deletes them later, as it does
    with those of rows that are deleted during a backup.
    """
    deleted = await predictions.delete_all(list(prediction_ids), actor)
    if deleted:
        image_paths = [prediction.image_path for prediction in deleted]
        # If that is unknown, the sweeper deletes the images: the rows are gone already.
        with suppress(DatabaseUnavailable):
            if not await dump.are_images_kept():
                await storage.delete(image_paths)
        await renditions.forget(image_paths)
    return deleted


async def delete_prediction(
    storage: Storage, renditions: Renditions, prediction_id: int, actor: Caller
) -> DeletedPrediction:
    """Delete one prediction and its image. Raises PredictionNotFound or DatabaseUnavailable."""
    deleted = await delete_predictions(storage, renditions, [prediction_id], actor)
    if not deleted:
        raise PredictionNotFound
    return deleted[0]
