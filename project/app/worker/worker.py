"""The worker: takes a prediction from pending to its end, whoever asks, and picks up those whose process died."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

from app import attempts, crud, timing
from app.accounts import finished
from app.attempts import Answer
from app.coalescing import Batcher
from app.crud import Attempt, NewPrediction
from app.domain import (
    AttemptsExhausted,
    Claim,
    DatabaseUnavailable,
    IdempotencyKeyInFlight,
    ImageMissing,
    ImageUnreadable,
    ModelBroken,
    ModelUnknown,
    RetryPolicy,
    StorageUnavailable,
)
from app.engine import Engine, Said
from app.log_events import (
    ATTEMPT_ERROR,
    PREDICTION_DELAYED,
    PREDICTION_ERROR,
    PREDICTION_LOST,
    PREDICTION_UNAWAITED,
    PREDICTIONS_HANDED_BACK,
    PREDICTIONS_RECOVERED,
    TASK_DELAYED,
    TASK_ERROR,
)
from app.models.tortoise import Prediction
from app.storage import Storage

log = logging.getLogger(__name__)

MAX_RECOVERED: Final = 2_000
LATE_SECONDS: Final = 30.0
"""How late the worker may look for predictions (the database has time-outs) and still count as alive."""
MAX_ACTIVE_PER_THREAD: Final = 8
"""Predictions claimed at once: enough that the engine need not wait while answers are written and others claimed."""
MAX_BUFFERED_BYTES: Final = 64 * 2**20
"""Uploaded bytes that are kept for the worker, beyond which images are read from the storage again."""
MAX_WRITTEN: Final = 128
"""Predictions claimed, or answers written, in one statement."""
MIN_WRITTEN_PER_THREAD: Final = 4
MAX_DELAY_SECONDS: Final = 0.1
"""While every thread has more to do, answers are written when there are so many, or one has waited for so long."""

RELEASED_PAUSE: Final = timedelta(seconds=1)
"""Pause before a released prediction is tried again."""
AWAY_SECONDS: Final = 0.5
"""Pause before a database that is away is tried again."""

PERMANENT_ERRORS: Final = (ImageMissing, ImageUnreadable, ModelBroken, ModelUnknown)
"""What would be the same at every further attempt."""


Result = TypeVar("Result")


class Worker:
    """Has predictions classified by the engine; the event loop only waits for it."""

    def __init__(
        self, engine: Engine, storage: Storage, policy: RetryPolicy, threads: int, *, from_queue: bool = False
    ) -> None:
        """``from_queue``: a queue gives a prediction to one process at a time, so whoever claimed it before is dead."""
        self._engine = engine
        self._storage = storage
        self._policy = policy
        self._from_queue = from_queue

        def claims(below: int, claimed_by: attempts.Claimant) -> Batcher[int, Claim | None]:
            def claim(ids: list[int]) -> Awaitable[list[Claim | None]]:
                return attempts.claim_all(ids, policy.lease, attempts_below=below, claimed_by=claimed_by)

            return Batcher(claim, most=MAX_WRITTEN)

        # What was tried before is claimed apart, and a queue does not say whether it was.
        self._claims = claims(1 if from_queue else policy.max_attempts, "alive")
        self._claims_again = claims(policy.max_attempts, "dead" if from_queue else "alive")
        self._claims_of_ours = claims(policy.max_attempts, "ours" if from_queue else "alive")
        self._answers = Batcher[Answer, Prediction | None](
            attempts.succeed_all, most=MAX_WRITTEN, may_delay=self._is_busy, patience=MAX_DELAY_SECONDS
        )
        self.create_attempted = Batcher[NewPrediction, Prediction](
            self._create_attempted, most=MAX_WRITTEN, may_delay=self._are_in_order, patience=MAX_DELAY_SECONDS
        )
        """Makes the row of an image that was attempted before."""
        self._threads = threads
        self._turn = asyncio.Semaphore(threads * MAX_ACTIVE_PER_THREAD)
        # An image that kills the process takes those claimed with it along; so what was tried before is tried alone,
        # and only the culprit runs out of attempts.
        self._alone = asyncio.Semaphore(1)
        self._in_hand: dict[int, asyncio.Task[Prediction | None]] = {}
        self._kept: dict[int, bytes] = {}
        self._buffered_bytes = 0
        self._asked: set[asyncio.Task[Said]] = set()
        self._stop = asyncio.Event()
        self._looked_at = self._alive_for = self._last_answered = 0.0

    @asynccontextmanager
    async def running(self, recover_seconds: float, *, only_process: bool) -> AsyncIterator[None]:
        """Look for lost predictions now and every ``recover_seconds``; on leaving, hand back what is not finished.

        ``only_process``: no other process works on this database, so what is processing at the start is lost.
        """
        # Before anything is taken: afterwards, what is processing may be ours.
        await self._make_lost_pending(all_processing=only_process)
        self._looked_at, self._alive_for = time.monotonic(), recover_seconds + LATE_SECONDS
        recovery = asyncio.create_task(self._recover_forever(recover_seconds))
        try:
            yield
        finally:
            self._alive_for = 0.0
            recovery.cancel()
            await asyncio.wait([recovery])
            await self.release_all()

    @property
    def is_alive(self) -> bool:
        """Whether the worker has looked for predictions lately."""
        return time.monotonic() - self._looked_at < self._alive_for

    async def classify(self, prediction_id: int, data: bytes | None = None) -> Prediction | None:
        """Classify one prediction, if it is still pending; returns when it is finished, with its row, or handed back.

        ``data``: the image's bytes, where the caller has them at hand. Called again for a prediction in hand, it waits
        for that.
        """
        task = self.start(prediction_id, data)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            # A server that stops ends its background tasks; what is in hand is handed back by `running`.
            log.debug(PREDICTION_UNAWAITED, prediction_id)
            return None
        return task.result()

    async def run_job(self, prediction_id: int) -> timedelta | None:
        """Classify a prediction for a queue; gives a pause where it was handed back, and has to be given again."""
        if await self.classify(prediction_id):
            return None
        return RELEASED_PAUSE if await self._patiently(partial(attempts.is_pending, prediction_id)) else None

    async def attempt(self, model: str, data: bytes, seconds: float) -> Attempt | None:
        """Classify an image that has no row yet, for a client that waits: nobody misses the row before the answer.

        None where nothing is known of it after ``seconds``, or too much is in memory already: then it needs its row.
        """
        if self._buffered_bytes + len(data) > MAX_BUFFERED_BYTES:
            return None
        began = time.monotonic()
        asked = self._ask(model, data)
        self._buffered_bytes += len(data)
        try:
            await asyncio.wait([asked], timeout=seconds)
            return self._attempt(asked, began) if asked.done() and not asked.cancelled() else None
        finally:
            self._buffered_bytes -= len(data)
            asked.cancel()

    def start(self, prediction_id: int, data: bytes | None = None, tried: int = 0) -> asyncio.Task[Prediction | None]:
        """The task of ``classify``, to be waited for and never cancelled. ``tried``: attempts made before."""
        task = self._in_hand.get(prediction_id)
        if task is None:
            if data is not None and self._buffered_bytes + len(data) <= MAX_BUFFERED_BYTES:
                self._kept[prediction_id] = data
                self._buffered_bytes += len(data)
            task = asyncio.create_task(self._take(prediction_id, tried), name=f"classify-{prediction_id}")
            self._in_hand[prediction_id] = task
            task.add_done_callback(lambda _: self._let_go(prediction_id))
        return task

    def _let_go(self, prediction_id: int) -> None:
        self._in_hand.pop(prediction_id, None)
        self._forget(prediction_id)

    def _forget(self, prediction_id: int) -> bytes | None:
        data = self._kept.pop(prediction_id, None)
        self._buffered_bytes -= len(data or b"")
        return data

    async def _take(self, prediction_id: int, tried: int) -> Prediction | None:
        # Still pending, or processing under a lease that runs out: whatever goes wrong, it is found again.
        with _logged(f"Prediction {prediction_id}"):
            if not tried:
                async with self._turn:
                    held = await self._claimed(self._claims, prediction_id)
                    if held is not None:
                        return await self._process(held)
            if tried or self._from_queue:
                async with self._alone, self._turn:
                    held = await self._claimed(self._claims_again, prediction_id)
                    if held is not None:
                        return await self._process(held)
                    if self._from_queue and not self._stop.is_set():
                        began = time.monotonic()
                        return finished(
                            await self._patiently(partial(attempts.exhaust, prediction_id, self._policy)), None, began
                        )
        return None

    async def _claimed(self, claims: Batcher[int, Claim | None], prediction_id: int) -> Claim | None:
        using = claims

        async def claim() -> Claim | None:
            nonlocal using
            try:
                return await using(prediction_id)
            except DatabaseUnavailable as error:
                using = self._claims_of_ours if error.outcome_unknown else using
                raise

        return None if self._stop.is_set() else await self._patiently(claim)

    async def _patiently(self, statement: Callable[[], Awaitable[Result]]) -> Result:
        """What a statement gives, as often as the database is away for it: that is no fault of the prediction's.

        Raises DatabaseUnavailable where the worker stops meanwhile.
        """
        while True:
            try:
                return await statement()
            except DatabaseUnavailable:
                if self._stop.is_set():
                    raise
                with suppress(TimeoutError):
                    async with asyncio.timeout(AWAY_SECONDS):
                        await self._stop.wait()

    async def _process(self, held: Claim) -> Prediction | None:
        began = time.monotonic()
        try:
            timing.took("queue", held.waited)
            data = self._forget(held.prediction_id) or await self._storage.read(held.image_path)
            said = await self._ask(held.model, data)
        except PERMANENT_ERRORS as error:
            return finished(await self._patiently(partial(attempts.fail, held, error)), held, began)
        except StorageUnavailable:
            # No fault of the image's: it is asked for again until the storage is back.
            log.info(PREDICTION_DELAYED, held.prediction_id)
            await self._patiently(partial(attempts.release, held, count_attempt=False))
            return None
        except asyncio.CancelledError:
            # The service stops: no fault of the image's, so the attempt is given back.
            await attempts.release(held, count_attempt=False)
            return None
        except Exception:
            log.exception(PREDICTION_ERROR, held.attempt, held.prediction_id)
            if held.attempt < self._policy.max_attempts:
                await self._patiently(partial(attempts.release, held, count_attempt=True))
                return None
            return finished(await self._patiently(partial(attempts.fail, held, AttemptsExhausted())), held, began)
        answer = Answer(held, said.scores, said.model, said.version)
        with timing.stage("write"):
            written = await self._patiently(partial(self._answers, answer))
        if written is None:
            log.warning(PREDICTION_LOST, held.prediction_id)
        return finished(written, held, began, said.seconds)

    def _attempt(self, asked: asyncio.Task[Said], began: float) -> Attempt:
        try:
            said = asked.result()
        except PERMANENT_ERRORS as error:
            return Attempt(began, error=error)
        except Exception:
            log.exception(ATTEMPT_ERROR)
            return Attempt(began, error=AttemptsExhausted() if self._policy.max_attempts == 1 else None)
        return Attempt(began, said.scores, version=said.version, seconds=said.seconds)

    def _ask(self, model: str, data: bytes) -> asyncio.Task[Said]:
        """What the engine says of an image; cancelled where the worker stops before that."""
        asked = asyncio.create_task(self._engine.classify(model, data))
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        if self._stop.is_set():
            asked.cancel()
        return asked

    async def _create_attempted(self, new: list[NewPrediction]) -> list[Prediction | IdempotencyKeyInFlight]:
        self._last_answered = max(self._last_answered, *(one.came for one in new))
        return await crud.create_all(new)

    def _are_in_order(self, new: Sequence[NewPrediction]) -> bool:
        """Whether uploads may wait for others: not once a later one was answered."""
        return self._is_busy(new) and min(one.came for one in new) > self._last_answered

    def _is_busy(self, answers: Sequence[object]) -> bool:
        """Whether answers may wait for others: nobody is kept from working meanwhile."""
        enough = MIN_WRITTEN_PER_THREAD * self._threads
        return len(answers) < enough and len(self._asked) > 2 * self._threads and not self._stop.is_set()

    async def _recover_forever(self, seconds: float) -> None:
        while True:
            await self._take_pending()
            self._looked_at = time.monotonic()
            await asyncio.sleep(seconds)
            await self._make_lost_pending(all_processing=False)

    async def _make_lost_pending(self, *, all_processing: bool) -> None:
        with _logged("Looking for lost predictions"):
            began = time.monotonic()
            found = await attempts.recover(self._policy, list(self._in_hand), all_processing=all_processing)
            for failed in found.failed:
                finished(failed, None, began)
            if found.failed or found.orphaned:
                log.info(PREDICTIONS_RECOVERED, found.orphaned, len(found.failed))

    async def _take_pending(self) -> None:
        # So many at a time, whatever the backlog: bounded memory, and more than the threads finish until the next look.
        room = MAX_RECOVERED - len(self._in_hand)
        with _logged("Taking pending predictions"):
            if room > 0:
                for prediction_id, tried in await attempts.pending(list(self._in_hand), room):
                    self.start(prediction_id, tried=tried)

    async def release_all(self) -> None:
        """Stop: what is not finished is left for others, or for the next start."""
        # Only the waiting for the engine is broken off: of a statement cut short nobody knows whether it was done.
        self._stop.set()
        for asked in self._asked:
            asked.cancel()
        if tasks := list(self._in_hand.values()):
            log.info(PREDICTIONS_HANDED_BACK, len(tasks))
            await asyncio.wait(tasks)


@contextmanager
def _logged(doing: str) -> Iterator[None]:
    """Keep a loop that must not end from ending: what goes wrong is logged, and tried again in the next round."""
    try:
        yield
    except DatabaseUnavailable as error:
        log.warning(TASK_DELAYED, doing, error.message)
    except Exception:
        log.exception(TASK_ERROR, doing)
