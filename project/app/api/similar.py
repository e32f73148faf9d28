"""Route for the images most similar to one."""

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query

from app.api.deps import AppState, State
from app.api.errors import problem_responses
from app.api.params import Id
from app.classifier.similarity import DUPLICATE, code_of, similarities
from app.db.crud import embeddings, predictions, similar_images
from app.domain import EmbeddingMissing, PredictionNotFound
from app.models.pydantic_similar import SimilarRead

router = APIRouter(prefix="/predictions", tags=["images"])

LIMIT: Final = 10
MAX_LIMIT: Final = 100
CANDIDATES: Final = 400
"""Images whose embeddings are compared for ``LIMIT`` results. With 200, 3 % of the nearest among a million images are
missed."""
MAX_CANDIDATES: Final = 10_000
"""With fewer images that are no near-duplicates among these, there are fewer results."""


@router.get(
    "/{id}/similar/",
    summary="List similar images",
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_similar(
    id: Id,
    state: State,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Maximum number of images.")] = LIMIT,
    *,
    duplicates: Annotated[bool, Query(description="Whether to list images that are nearly the same.")] = True,
) -> list[SimilarRead]:
    """Returns the most similar images first, by their embeddings.

    Images are compared if the same version of a model has classified them, or of a custom model's base.
    """
    return await similar_to(id, state, limit, with_duplicates=duplicates)


async def similar_to(prediction_id: int, state: AppState, limit: int, *, with_duplicates: bool) -> list[SimilarRead]:
    """The most similar images first. Raises PredictionNotFound, EmbeddingMissing or DatabaseUnavailable."""
    await state.get_prediction(prediction_id)
    embedding = (await embeddings.of_predictions([prediction_id])).get(prediction_id)
    if embedding is None:
        raise EmbeddingMissing(
            "There is no embedding of this image: its model has no embeddings, or it was classified while "
            "KEEP_EMBEDDINGS was 0. Classify it again to compare it."
        )
    embedding = replace(embedding, code=embedding.code or code_of(embedding.vector))
    count = CANDIDATES * -(-limit // LIMIT)
    while True:
        candidates = await similar_images.nearest(embedding, prediction_id, count)
        compared = await asyncio.to_thread(similarities, embedding.vector, list(candidates.values()))
        ranked = sorted(zip(compared, candidates, strict=True), reverse=True)
        chosen = [pair for pair in ranked if with_duplicates or pair[0] <= DUPLICATE][:limit]
        if len(chosen) == limit or len(candidates) < count or count == MAX_CANDIDATES:
            break
        # Most are near-duplicates.
        count = min(5 * count, MAX_CANDIDATES)
    rows = await predictions.get_all([number for _, number in chosen])
    return [
        SimilarRead(
            prediction=state.read(row),
            similarity=round(similarity, 4),
            near_duplicate=similarity > DUPLICATE,
        )
        for (similarity, _), row in zip(chosen, rows, strict=True)
        # It may have been deleted just now.
        if not isinstance(row, PredictionNotFound)
    ]
