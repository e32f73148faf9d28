"""Runs an image model: from an image's bytes to its five best labels. Never imports TensorFlow."""

import queue
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.classifier.activations import ACTIVATIONS
from app.classifier.manifest import ImageManifest, Model
from app.classifier.photographs import GREEN, is_photograph
from app.classifier.runtimes import InferenceSession, Outputs, load_network
from app.domain import CONFIDENCE_DIGITS, TOP, Decision, LabelScore, ModelBroken, Thresholds
from app.images.preprocessing import to_tensor

TENSORS_BYTES: Final = 10 * 2**20
"""Approximate memory of one session in addition to the weights: the activations of a typical model."""


class Classifier:
    """A loaded image model. Up to ``threads`` threads may call ``classify`` concurrently; others wait."""

    def __init__(self, model: Model, threads: int) -> None:
        """Load the model for ``threads`` threads. Raises ModelBroken if the file does not match its manifest."""
        assert isinstance(model.manifest, ImageManifest)
        self.model = model
        manifest = model.manifest
        size = manifest.input.size
        self._spec = manifest.input.spec
        self._channels_first = manifest.input.layout == "nchw"
        self._thresholds = manifest.decision.thresholds
        scale = manifest.input.scale
        self._green_scale = scale if isinstance(scale, float) else scale[GREEN]
        self._activate = ACTIVATIONS[manifest.output.activation]
        shape = (1, 3, size, size) if self._channels_first else (1, size, size, 3)
        network = load_network(manifest.runtime, model.path, shape, len(model.labels), manifest.precision)
        # LIFO, because the last session used has the warmest caches.
        self._free: queue.LifoQueue[InferenceSession] = queue.LifoQueue()
        for _ in range(threads):
            self._free.put(network.session())
        self.memory_bytes = model.path.stat().st_size * (1 + threads) + TENSORS_BYTES * threads
        """Approximate memory: the file, and for each thread the packed weights and the activations."""

    def outputs(self, tensor: NDArray[np.float32]) -> Outputs:
        """All scores, 0..1, and the embedding, for an image tensor of shape (size, size, 3)."""
        if self._channels_first:
            tensor = np.ascontiguousarray(tensor.transpose(2, 0, 1))
        session = self._free.get()
        try:
            scores, embedding = session.run(tensor[np.newaxis])
        finally:
            self._free.put(session)
        return Outputs(self._activate(scores), embedding)

    def scores(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """All scores, as in ``outputs``: shape (labels,)."""
        return self.outputs(tensor).scores

    def classify(self, data: bytes) -> list[LabelScore]:
        """The five best labels of an image, highest confidence first (fewer if the model has fewer).

        Raises ImageUnreadable if the bytes cannot be decoded, ModelBroken if the model's scores are not probabilities.
        """
        return self.best(self.decode(data))

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """The input tensor of an image. Raises ImageUnreadable."""
        return to_tensor(data, self._spec)

    def best(self, tensor: NDArray[np.float32]) -> list[LabelScore]:
        """The best labels for a tensor from ``decode``, as in ``classify``. Raises ModelBroken."""
        return self.best_of(self.scores(tensor))

    def decide(
        self, scores: Sequence[LabelScore], tensor: NDArray[np.float32], thresholds: Thresholds | None = None
    ) -> Decision:
        """Whether the best of some labels is sure: its confidence suffices, and the image looks like a photograph.

        ``thresholds``: to use instead of those in the manifest.
        """
        (best, *_) = scores
        sure_from = (thresholds or self._thresholds).of(best.label)
        is_sure = best.confidence >= sure_from and is_photograph(tensor, self._green_scale)
        return Decision.SURE if is_sure else Decision.UNSURE

    def best_of(self, scores: NDArray[np.float32]) -> list[LabelScore]:
        """The best labels for all scores. Raises ModelBroken."""
        count = min(TOP, len(scores))
        best = np.argpartition(scores, -count)[-count:]
        best = best[np.argsort(scores[best])[::-1]]
        try:
            return [LabelScore(self.model.labels[i], round(float(scores[i]), CONFIDENCE_DIGITS)) for i in best]
        except ValueError as error:
            raise ModelBroken(
                f"The scores of model {self.model.name} are not probabilities ({error}):  "
                'if they are logits, set activation = "softmax" (or "sigmoid") in its manifest.'
            ) from error
