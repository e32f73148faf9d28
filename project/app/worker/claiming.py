"""Claims predictions for a worker, batched with concurrent claims."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from app.concurrency import Batcher
from app.db.crud import claims
from app.db.crud.claims import PreviousOwner
from app.domain import Claim, DatabaseUnavailable, RetryPolicy
from app.worker.outage import retry_while_database_down

MAX_CLAIMED: Final = 128
"""Predictions claimed in one statement."""


class Claimer:
    """Claims predictions, waiting out database outages. Predictions that were attempted before are claimed apart."""

    def __init__(self, policy: RetryPolicy, stopping: asyncio.Event, *, from_queue: bool) -> None:
        """``from_queue``: a queue gives a prediction to one process at a time, so its previous owner is dead."""
        self._policy = policy
        self._stopping = stopping
        # A queue does not tell whether a prediction was attempted before.
        attempts, interruptions = policy.max_attempts, policy.max_interruptions
        self._first = self._batcher(*((1, 0) if from_queue else (attempts, interruptions)), "alive")
        self._retry = self._batcher(attempts, interruptions, "dead" if from_queue else "alive")
        self._own = self._batcher(attempts, interruptions, "ours" if from_queue else "alive")

    async def claim_first(self, prediction_id: int) -> Claim | None:
        """Claim a prediction for its first attempt; None if it is claimed, finished or was attempted before."""
        return await self._claim(self._first, prediction_id)

    async def claim_retry(self, prediction_id: int) -> Claim | None:
        """Claim a prediction for another attempt; None if it is claimed, finished or has no attempts left."""
        return await self._claim(self._retry, prediction_id)

    def _batcher(
        self, attempts_below: int, max_interruptions: int, previous_owner: PreviousOwner
    ) -> Batcher[int, Claim | None]:
        def claim(ids: list[int]) -> Awaitable[list[Claim | None]]:
            return claims.claim_all(
                ids,
                self._policy.lease,
                attempts_below=attempts_below,
                max_interruptions=max_interruptions,
                previous_owner=previous_owner,
            )

        return Batcher(claim, max_items=MAX_CLAIMED)

    async def _claim(self, batcher: Batcher[int, Claim | None], prediction_id: int) -> Claim | None:
        if self._stopping.is_set():
            return None

        async def claim() -> Claim | None:
            nonlocal batcher
            try:
                return await batcher(prediction_id)
            except DatabaseUnavailable as error:
                # The claim may have succeeded without our knowledge, so the next try accepts a claim of our own.
                batcher = self._own if error.outcome_unknown else batcher
                raise

        return await retry_while_database_down(claim, self._stopping)
