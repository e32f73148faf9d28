"""Which predictions of a list have images that are nearly the same as those listed before."""

import asyncio
from collections.abc import Sequence
from typing import Final

from app.classifier.similarity import near_duplicate_groups
from app.db.crud import embeddings, search
from app.db.crud.search import Filters, Order, Position
from app.models.tortoise import Prediction

LOOK_BACK: Final = 200
"""Predictions before a page that are compared with it."""


async def duplicates_in(
    page: Sequence[Prediction], after: Position | None, filters: Filters, order: Order
) -> dict[int, int]:
    """IDs of the predictions of a page that are near-duplicates, each with the ID of the first of its group.

    They are compared with each other and with the LOOK_BACK predictions listed before. ``after``: the position
    that the page follows. Raises DatabaseUnavailable.
    """
    earlier = await search.ids_up_to(LOOK_BACK, after, filters, order) if after is not None else []
    listed = [*reversed(earlier), *(row.id for row in page)]
    stored = await embeddings.of_predictions(listed)
    compared = {number: stored[number] for number in listed if number in stored}
    first_of = await asyncio.to_thread(near_duplicate_groups, compared)
    return {row.id: first_of[row.id] for row in page if first_of.get(row.id, row.id) != row.id}
