"""The worker: takes a prediction from pending to its end, whoever asks, and picks up those whose process died."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from app import crud
from app.classifier import Classifier
from app.domain import (
    AttemptsExhausted,
    Claim,
    DatabaseUnavailable,
    ImageMissing,
    ImageUnreadable,
    LabelScore,
    RetryPolicy,
)
from app.imaging import to_tensor
from app.storage import Storage

log = logging.getLogger(__name__)

MOST_RECOVERED: Final = 2_000
LATE_SECONDS: Final = 30.0
"""How late the worker may look for predictions (the database has time-outs) and still count as alive."""


class Worker:
    """Classifies predictions in a fixed pool of threads; the event loop only waits for them."""

    def __init__(self, classifier: Classifier, storage: Storage, policy: RetryPolicy, threads: int) -> None:
        self._classifier = classifier
        self._storage = storage
        self._policy = policy
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="classify")
        # One more than there are threads, so that a thread need not wait while another result is written.
        self._turn = asyncio.Semaphore(threads + 1)
        self._in_hand: dict[int, asyncio.Task[None]] = {}
        self._decoding: set[asyncio.Future[list[LabelScore]]] = set()
        self._stopping = False
        self._looked_at = self._patience = 0.0

    @asynccontextmanager
    async def running(self, recover_seconds: float, *, only_process: bool) -> AsyncIterator[None]:
        """Look for lost predictions now and every ``recover_seconds``; on leaving, hand back what is not finished.

        ``only_process``: no other process works on this database, so what is processing at the start is lost.
        """
        # Before anything is taken: afterwards, what is processing may be ours.
        await self._make_lost_pending(all_processing=only_process)
        self._looked_at, self._patience = time.monotonic(), recover_seconds + LATE_SECONDS
        recovery = asyncio.create_task(self._recover_forever(recover_seconds))
        try:
            yield
        finally:
            self._patience = 0.0
            recovery.cancel()
            await asyncio.wait([recovery])
            await self._hand_back()
            # What a thread is still decoding is handed back already: nobody waits for it.
            self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def is_alive(self) -> bool:
        """Whether the worker has looked for predictions lately."""
        return time.monotonic() - self._looked_at < self._patience

    async def classify(self, prediction_id: int) -> None:
        """Classify one prediction, if it is still pending; returns when it is finished or handed back.

        Called again for a prediction in hand, it waits for that.
        """
        try:
            await asyncio.wait([self._task(prediction_id)])
        except asyncio.CancelledError:
            # A server that stops ends its background tasks; what is in hand is handed back by `running`.
            log.debug("Nobody waits for prediction %d any longer", prediction_id)

    def _task(self, prediction_id: int) -> asyncio.Task[None]:
        task = self._in_hand.get(prediction_id)
        if task is None:
            task = asyncio.create_task(self._take(prediction_id), name=f"classify-{prediction_id}")
            self._in_hand[prediction_id] = task
            task.add_done_callback(lambda _: self._in_hand.pop(prediction_id, None))
        return task

    async def _take(self, prediction_id: int) -> None:
        async with self._turn:
            # Still pending, or processing under a lease that runs out: whatever goes wrong, it is found again.
            with _logged(f"Prediction {prediction_id}"):
                held = None if self._stopping else await crud.claim(prediction_id, self._policy)
                if held is not None:
                    await self._process(held)

    async def _process(self, held: Claim) -> None:
        try:
            scores = await self._answer(await self._storage.read(held.image_path))
        except (ImageMissing, ImageUnreadable) as error:
            log.info("Prediction %d failed: %s", held.prediction_id, error.code)
            await crud.fail(held, error)
        except asyncio.CancelledError:
            # The service stops: no fault of the image's, so the attempt is given back.
            await crud.release(held, count_attempt=False)
        except Exception:
            log.exception("Attempt %d at prediction %d went wrong", held.attempt, held.prediction_id)
            if held.attempt < self._policy.max_attempts:
                await crud.release(held, count_attempt=True)
            else:
                await crud.fail(held, AttemptsExhausted())
        else:
            model = self._classifier.model
            if not await crud.succeed(held, scores, model.name, model.version):
                log.warning("Prediction %d was deleted or taken over meanwhile", held.prediction_id)

    async def _answer(self, data: bytes) -> list[LabelScore]:
        """The labels of an image. Raises CancelledError where the worker stops before they are there."""
        decoding = asyncio.get_running_loop().run_in_executor(self._pool, self._classify, data)
        self._decoding.add(decoding)
        try:
            if self._stopping:
                decoding.cancel()
            return await decoding
        finally:
            self._decoding.discard(decoding)

    def _classify(self, data: bytes) -> list[LabelScore]:
        return self._classifier.classify(to_tensor(data, self._classifier.model.input))

    async def _recover_forever(self, seconds: float) -> None:
        while True:
            await self._take_pending()
            self._looked_at = time.monotonic()
            await asyncio.sleep(seconds)
            await self._make_lost_pending(all_processing=False)

    async def _make_lost_pending(self, *, all_processing: bool) -> None:
        with _logged("Looking for lost predictions"):
            found = await crud.recover(self._policy, list(self._in_hand), all_processing=all_processing)
            if found.failed or found.orphaned:
                log.info("Lost predictions: %d to be classified again, %d failed", found.orphaned, found.failed)

    async def _take_pending(self) -> None:
        # So many at a time, whatever the backlog: bounded memory, and more than the threads finish until the next look.
        room = MOST_RECOVERED - len(self._in_hand)
        with _logged("Taking pending predictions"):
            if room > 0:
                for prediction_id in await crud.pending_ids(list(self._in_hand), room):
                    self._task(prediction_id)

    async def _hand_back(self) -> None:
        # Only the waiting for a thread is broken off; of a statement cut short nobody knows whether it was carried out.
        self._stopping = True
        for decoding in self._decoding:
            decoding.cancel()
        if tasks := list(self._in_hand.values()):
            log.info("Stopping: %d predictions are left for the next start", len(tasks))
            await asyncio.wait(tasks)


@contextmanager
def _logged(doing: str) -> Iterator[None]:
    """Keep a loop that must not end from ending: what goes wrong is logged, and tried again in the next round."""
    try:
        yield
    except DatabaseUnavailable:
        log.warning("%s has to wait: the database is away", doing)
    except Exception:
        log.exception("%s went wrong", doing)
