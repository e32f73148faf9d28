"""Trains custom models: takes requested trainings, computes missing embeddings, and decides which version is served."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np

from app.classifier.heads.head import Head
from app.classifier.heads.metrics import share_with_interval
from app.classifier.heads.training import MAX_EXAMPLES, TrainedHead, train_head
from app.concurrency import repeating
from app.db.crud import custom_models, embeddings, examples, trainings
from app.db.crud.examples import EmbeddedExample
from app.db.crud.trainings import MAX_ATTEMPTS, TrainingResult
from app.domain import (
    OTHER,
    Caller,
    DatabaseUnavailable,
    EngineDied,
    EngineFailed,
    EngineInterrupted,
    ExamplesMissing,
    ImageEmbedding,
    ImageMissing,
    ImageUnreadable,
    ModelBroken,
    ModelUnknown,
    Scope,
    StorageUnavailable,
    TrainingFailed,
    TrainingInterrupted,
    Use,
)
from app.models.tortoise import CustomModel, Training
from app.observability.log_events import (
    TRAINING_DELAYED,
    TRAINING_ENDED,
    TRAINING_ERROR,
    TRAINING_FAILED,
    TRAINING_LOST,
)
from app.observability.task_errors import log_errors
from app.storage import Storage
from app.worker.custom_models import CustomModels, embedding_of, retrain_if_due
from app.worker.engine_requests import EngineRequests

log = logging.getLogger(__name__)

SEARCH_SECONDS: Final = 1.0
LEASE: Final = timedelta(seconds=15)
RENEW_SECONDS: Final = 5.0
SAVED_TOGETHER: Final = 64
"""Embeddings that are stored in one statement."""
EMBEDDING_SHARE: Final = 0.9
"""Of the work of a training; the rest is cross-validation."""
MAX_OTHERS: Final = 1_000
"""Images without any of the labels that set the threshold for ``other``."""
MAX_NAMED: Final = 100
"""Unreadable examples that are named."""
PERMANENT_ERRORS: Final = (ExamplesMissing, ModelBroken, ModelUnknown, TrainingFailed)


@dataclass(frozen=True, slots=True)
class _Material:
    """What a training learns from."""

    examples: list[EmbeddedExample]
    vectors: list[bytes]
    unreadable: list[int]
    """IDs of predictions whose images cannot be read."""


class Trainer:
    """Runs the trainings of this process, one at a time."""

    def __init__(
        self,
        requests: EngineRequests,
        storage: Storage,
        custom: CustomModels,
        version_of: Callable[[str], Awaitable[str]],
    ) -> None:
        """``version_of``: the version of a base model. Raises ModelUnknown."""
        self._requests = requests
        self._storage = storage
        self._custom = custom
        self._version_of = version_of

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run requested trainings while inside; one in progress is left to others at the end."""
        async with repeating(self._run_requested, SEARCH_SECONDS, "Finding requested trainings"):
            yield

    async def _run_requested(self) -> None:
        # Other tasks report outages.
        with suppress(DatabaseUnavailable):
            while training := await trainings.claim(LEASE):
                await self._run(training)

    async def _run(self, training: Training) -> None:
        work = asyncio.create_task(self._train(training))
        renewing = asyncio.create_task(_keep_lease(training, work))
        try:
            await work
        except asyncio.CancelledError:
            if work.cancelled() and not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                # Deleted, or taken over by another process.
                log.info(TRAINING_LOST, training.id)
                return
            # The process stops; the lease would expire as well.
            with log_errors(f"Training {training.id}"):
                await trainings.release(training)
            raise
        except PERMANENT_ERRORS as error:
            log.info(TRAINING_FAILED, training.id, error.message)
            await trainings.fail(training, error)
        except (DatabaseUnavailable, EngineDied, StorageUnavailable) as error:
            log.warning(TRAINING_DELAYED, training.id, error.message)
            with log_errors(f"Training {training.id}"):
                await trainings.postpone(training)
        except TrainingInterrupted as error:
            # The lease expires, and it is tried again.
            log.warning(TRAINING_DELAYED, training.id, error.message)
        except Exception:
            log.exception(TRAINING_ERROR, training.id)
            if training.attempts >= MAX_ATTEMPTS:
                await trainings.fail(training, TrainingFailed())
        finally:
            renewing.cancel()
            work.cancel()
            await asyncio.wait([renewing, work])

    async def _train(self, training: Training) -> None:
        if training.attempts > MAX_ATTEMPTS:
            raise TrainingFailed(f"The process ended in all {MAX_ATTEMPTS} attempts.")
        model = await custom_models.get_by_id(training.model_id)  # type: ignore[attr-defined]
        version = await self._version_of(model.base)
        material = await self._material(training, model, version, Use.LEARN)
        names = {example.label for example in material.examples}
        # In the order in which they were added. Labels without examples are left out.
        labels = [label for label in model.labels if label in names] + sorted(names - set(model.labels))
        numbers = {label: number for number, label in enumerate(labels)}
        others = await embeddings.of_others(model.name, model.base, version, MAX_OTHERS)
        learned = [numbers[example.label] for example in material.examples]
        trained = await train_head(material.vectors, learned, labels, others)
        checked = await self._material(training, model, version, Use.CHECK)
        trained.metrics["check"] = await asyncio.to_thread(_checked, trained.head, checked)
        result = await _result(model, version, labels, material, trained)
        if await trainings.succeed(training, result):
            await self._custom.refresh()
            log.info(TRAINING_ENDED, training.id, model.name, result.metrics["accuracy"], result.examples)
            await trainings.prune(model.id)
            # Examples may have been added meanwhile.
            actor = Caller(training.key_id, training.who, frozenset(Scope))
            await retrain_if_due(await custom_models.get_by_id(model.id), actor)

    async def _material(self, training: Training, model: CustomModel, version: str, use: Use) -> _Material:
        """Examples with their embeddings, of which those that are missing are computed and stored.

        Raises TrainingFailed if there are too many.
        """
        learned = await examples.embedded(model.id, model.base, version, use, MAX_EXAMPLES + 1)
        if len(learned) > MAX_EXAMPLES:
            raise TrainingFailed(f"A model learns from at most {MAX_EXAMPLES} examples. Delete some.")
        material = _Material([], [], [])
        computed: dict[int, ImageEmbedding] = {}
        for example in learned:
            vector = example.embedding
            if vector is None:
                try:
                    embedding = await self._embedding(model.base, version, example)
                except (ImageMissing, ImageUnreadable):
                    # Deleted meanwhile, or damaged in the storage.
                    material.unreadable.append(example.prediction_id)
                    continue
                computed[example.prediction_id] = embedding
                vector = embedding.vector
                if len(computed) >= SAVED_TOGETHER:
                    await embeddings.save_all(computed)
                    computed.clear()
                    if use == Use.LEARN:
                        share = EMBEDDING_SHARE * (len(material.examples) + 1) / len(learned)
                        await trainings.report_progress(training, share)
            material.examples.append(example)
            material.vectors.append(vector)
        if computed:
            await embeddings.save_all(computed)
        if use == Use.LEARN:
            await trainings.report_progress(training, EMBEDDING_SHARE)
        return material

    async def _embedding(self, base: str, version: str, example: EmbeddedExample) -> ImageEmbedding:
        """Raises ImageUnreadable, also if the image ends the engine each time."""
        data = await self._storage.read(example.image_path)
        try:
            try:
                result = await self._requests.embed(base, data)
            except EngineInterrupted:
                raise
            except EngineDied:
                result = await self._requests.embed(base, data, alone=True)
        except EngineInterrupted:
            raise
        except (EngineDied, EngineFailed) as error:
            raise ImageUnreadable from error
        if result.version != version:
            raise TrainingInterrupted(f"The base model {base} was replaced during the training.")
        return embedding_of(result)


async def _keep_lease(training: Training, work: "asyncio.Task[None]") -> None:
    """Renew the lease; cancel the work if another process has it, or the training was deleted."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with log_errors(f"Renewing the lease of training {training.id}"):
            if not await trainings.renew(training, LEASE):
                work.cancel()


def _checked(head_bytes: bytes, checked: _Material) -> dict[str, Any] | None:
    """How many examples that are only for checks get their label; None if there are none."""
    if not checked.examples:
        return None
    head = Head.from_bytes(head_bytes)
    vectors = (np.frombuffer(vector, "<f2").astype(np.float32) for vector in checked.vectors)
    answers = [head.classify(vector)[0].label for vector in vectors]
    right = sum(answer == example.label for answer, example in zip(answers, checked.examples, strict=True))
    return share_with_interval(right, len(answers))


async def _result(
    model: CustomModel, version: str, labels: Sequence[str], material: _Material, trained: TrainedHead
) -> TrainingResult:
    answers = [
        {
            "prediction_id": example.prediction_id,
            "label": example.label,
            "answer": OTHER if is_other else best,
            "best": best,
            "confidence": confidence,
        }
        for example, best, is_other, confidence in zip(
            material.examples, trained.answers, trained.are_other, trained.confidences, strict=True
        )
    ]
    metrics = {**trained.metrics, "unreadable": material.unreadable[:MAX_NAMED]}
    decision, is_served = await _decision(model, version, answers, metrics)
    return TrainingResult(
        labels=labels,
        examples=len(answers),
        examples_sha256=_hash_of(material.examples),
        base_version=version,
        metrics=metrics,
        answers=answers,
        head=trained.head,
        head_sha256=hashlib.sha256(trained.head).hexdigest(),
        decision=decision,
        is_served=is_served,
        served_before=model.training_id,
    )


async def _decision(
    model: CustomModel, version: str, answers: Sequence[dict[str, Any]], metrics: dict[str, Any]
) -> tuple[str, bool]:
    """Why a new version is served or not, and whether it is; adds the comparison to the metrics.

    Both versions are compared by their best labels in cross-validation, so neither has seen the examples before.
    """
    served = await trainings.get(model.training_id) if model.training_id else None
    if served is None:
        return "First version.", True
    if served.base_version != version:
        return f"The base model was replaced, so version {served.number} can no longer be used.", True
    before = {answer["prediction_id"]: answer for answer in await trainings.answers_of(served.id)}
    pairs = [
        (before[answer["prediction_id"]], answer)
        for answer in answers
        if (old := before.get(answer["prediction_id"])) and old["label"] == answer["label"]
    ]
    # Without ``other``: its threshold is chosen for a rate of false alarms, which hit some examples or others.
    old_right = sum(old.get("best", old["answer"]) == old["label"] for old, _ in pairs)
    new_right = sum(new["best"] == new["label"] for _, new in pairs)
    metrics["compared"] = {
        "version": served.number,
        "examples": len(pairs),
        "right_before": old_right,
        "right_now": new_right,
    }
    if not pairs:
        return f"No examples in common with version {served.number}, so the two cannot be compared. Not served.", False
    comparison = (
        f"Correct on {new_right} of the {len(pairs)} examples shared with version {served.number}, "
        f"which was correct on {old_right}."
    )
    return (comparison, True) if new_right >= old_right else (f"{comparison} Not served.", False)


def _hash_of(learned: Sequence[EmbeddedExample]) -> str:
    lines = "".join(f"{example.sha256} {example.label}\n" for example in learned)
    return hashlib.sha256(lines.encode()).hexdigest()
