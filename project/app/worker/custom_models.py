"""Custom models at work: which of their versions are served, and their heads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Final

import numpy as np
from cachetools import LRUCache

from app.classifier.engine.process import Classification
from app.classifier.heads.head import Head
from app.classifier.names.catalog import LabelCatalog, LabelNames
from app.classifier.registry import Registry
from app.concurrency import Batcher, repeating
from app.db.crud import custom_models, examples, trainings
from app.db.crud.custom_models import ServedVersion
from app.domain import (
    Caller,
    DatabaseUnavailable,
    ImageEmbedding,
    ModelBroken,
    ModelUnknown,
    TrainingNotFound,
)
from app.models.pydantic_system import ModelRead
from app.models.tortoise import CustomModel
from app.worker.dispatch import ImageModel

FOLLOW_SECONDS: Final = 2.0
"""How long a process may go on with the version that was served before."""
MAX_CATALOGS: Final = 256
HEADS_BYTES: Final = 64 * 2**20
"""Memory for heads; those used least recently are read again when they are needed."""


class CustomModels:
    """Knows the custom models as of the last seconds, and reads heads when they are needed."""

    def __init__(self) -> None:
        self._models: dict[str, ServedVersion] = {}
        self._names: dict[str, str] = {}
        """Names and categories of labels, as JSON, by their hashes."""
        self._refresh = Batcher(self._refresh_all, max_items=1_000)
        self._heads: LRUCache[int, Head] = LRUCache(HEADS_BYTES, getsizeof=_size)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Notice changes by other processes while inside."""
        # What follows needs to know the models, such as the calibration of their confidences.
        await self._refresh_if_available()
        async with repeating(self._refresh_if_available, FOLLOW_SECONDS, "Looking for changed custom models"):
            yield

    async def refresh(self) -> None:
        """Read which versions are served. Raises DatabaseUnavailable."""
        await self._refresh(None)

    def find(self, name: str) -> ServedVersion | None:
        """A model as of the last seconds; None if it is not a custom model, or too new."""
        return self._models.get(name)

    async def look_up(self, name: str) -> ServedVersion | None:
        """A model as of now. Raises DatabaseUnavailable."""
        await self.refresh()
        return self._models.get(name)

    async def all(self) -> list[ServedVersion]:
        """All models as of now; while the database is unavailable, as of before."""
        await self._refresh_if_available()
        return list(self._models.values())

    async def answer(self, model: ServedVersion, base: Classification) -> Classification:
        """The labels of a custom model for what its base computed of an image.

        Raises ModelUnknown if the model has no version, ModelBroken if its base was replaced, or DatabaseUnavailable.
        """
        if model.training_id is None:
            raise untrained(model.name)
        if base.version != model.base_version:
            raise ModelBroken(
                f"The model {model.name!r} was trained on another version of {model.base}: train it again."
            )
        head = await self._head(model.training_id)
        embedding = np.frombuffer(embedding_of(base).vector, "<f2").astype(np.float32)
        if len(embedding) != head.features:
            raise ModelBroken(f"The head of {model.name!r} does not match its base {model.base}: train it again.")
        best, scores = head.best_and_all(embedding)
        names = self._names.get(model.names_hash or "")
        categories = _catalog(head.labels, names).sums(scores) if names else ()
        return Classification(best, model.name, model.version, base.seconds, base.embedding, categories)

    def catalogs(self) -> list[LabelCatalog]:
        """Names and categories of the labels of all models that have some."""
        return [self.catalog(model) for model in self._models.values() if model.names_hash]

    def catalog(self, model: ServedVersion) -> LabelCatalog:
        """Names and categories of a model's labels."""
        return _catalog(tuple(model.labels), self._names.get(model.names_hash or ""))

    async def _refresh_if_available(self) -> None:
        # Other tasks report outages.
        with suppress(DatabaseUnavailable):
            await self.refresh()

    async def _head(self, training_id: int) -> Head:
        head = self._heads.get(training_id)
        if head is None:
            try:
                data = await trainings.head_of(training_id)
            except TrainingNotFound as error:
                # Deleted since this process has heard of it.
                raise ModelUnknown from error
            head = self._heads[training_id] = await asyncio.to_thread(Head.from_bytes, data)
        return head

    async def _refresh_all(self, requests: list[None]) -> list[None]:
        models = {model.name: model for model in await custom_models.served()}
        hashes = {model.names_hash for model in models.values() if model.names_hash}
        # They may be large, and hardly ever change.
        new = (
            await custom_models.label_names(sorted(hashes - self._names.keys())) if hashes - self._names.keys() else {}
        )
        self._names = {key: names for key, names in (self._names | new).items() if key in hashes}
        self._models = models
        return requests


@lru_cache(MAX_CATALOGS)
def _catalog(labels: tuple[str, ...], label_names: str | None) -> LabelCatalog:
    if label_names is None:
        return LabelCatalog(tuple(LabelNames(label=label) for label in labels))
    return LabelCatalog.of_some(label_names.encode(), labels)


def image_model_of(model: ServedVersion) -> ImageModel:
    """The model as uploads name it. Raises ModelUnknown if it has no version."""
    if model.training_id is None:
        raise untrained(model.name)
    return ImageModel(model.name, model.version)


def read_custom_model(model: ServedVersion) -> ModelRead:
    """The model as the API describes it."""
    is_trained = model.training_id is not None
    return ModelRead(
        name=model.name,
        status="ok" if is_trained else "broken",
        error=None if is_trained else untrained(model.name).message,
        kind="image",
        version=model.version if is_trained else None,
        labels=len(model.labels),
        base=model.base,
    )


async def label_count(registry: Registry, custom: CustomModels, name: str) -> int:
    """Number of a model's labels, with ``other`` for a custom one; 0 if there is no such model."""
    if own := custom.find(name):
        return len(own.labels) + 1
    try:
        return len((await asyncio.to_thread(registry.get, name)).labels)
    except ModelUnknown:
        return 0


async def base_version(registry: Registry, name: str) -> str:
    """The version of a model on which others build, also if it was replaced just now. Raises ModelUnknown."""
    await asyncio.to_thread(registry.refresh)
    return (await asyncio.to_thread(registry.get, name)).version


async def retrain_if_due(model: CustomModel, actor: Caller) -> None:
    """Request a training if there are enough new examples since the last one, unless there was none.

    Raises DatabaseUnavailable.
    """
    if model.training_id and model.retrain_after:
        # Not once more for each example while trainings fail.
        new = await examples.count_since_training(model.id, even_if_failed=True)
        if new >= model.retrain_after:
            await trainings.request(model.id, actor)


def embedding_of(classification: Classification) -> ImageEmbedding:
    """The embedding of an image. Raises ModelBroken if the model gives none."""
    if classification.embedding is None:
        raise ModelBroken(f"The model {classification.model} has no output named embedding, so it cannot be a base.")
    return classification.embedding


def untrained(name: str) -> ModelUnknown:
    """The error for a custom model without a version."""
    return ModelUnknown(f"The model {name!r} is not trained yet. Add examples and train it.")


def _size(head: Head) -> int:
    return head.weights.nbytes + head.references.nbytes
