"""An image model at work: from an image's bytes to its five best labels. TensorFlow is never imported here."""

import queue
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.domain import LabelScore, ModelBroken
from app.imaging import to_tensor
from app.manifest import ImageManifest, Model
from app.runtimes import Session, load_network

TOP: Final = 5
CONFIDENCE_DIGITS: Final = 6
TENSORS_BYTES: Final = 10 * 2**20
"""What one session holds beside its copy of the weights: the activations of a network of this kind, about."""


class Classifier:
    """A loaded image model. ``classify`` may be called from ``threads`` threads at once; more wait for their turn."""

    def __init__(self, model: Model, threads: int) -> None:
        """Load it, for so many threads. Raises ModelBroken where its file is no such network."""
        assert isinstance(model.manifest, ImageManifest)
        self.model = model
        manifest = model.manifest
        size = manifest.input.size
        self._spec = manifest.input.spec
        self._channels_first = manifest.input.layout == "nchw"
        self._softmax = manifest.output.activation == "softmax"
        shape = (1, 3, size, size) if self._channels_first else (1, size, size, 3)
        network = load_network(manifest.runtime, model.path, shape, len(model.labels))
        # The last one used has the warmest caches.
        self._free: queue.LifoQueue[Session] = queue.LifoQueue()
        for _ in range(threads):
            self._free.put(network.session())
        self.memory_bytes = model.path.stat().st_size * (1 + threads) + TENSORS_BYTES * threads
        """About what it takes: the file, and for each thread the weights as the runtime packs them, and its tensors."""

    def scores(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """All scores, float32 of shape (labels,), 0..1, for one image tensor of shape (size, size, 3)."""
        if self._channels_first:
            tensor = np.ascontiguousarray(tensor.transpose(2, 0, 1))
        session = self._free.get()
        try:
            scores = session.run(tensor[np.newaxis])
        finally:
            self._free.put(session)
        return _softmax(scores) if self._softmax else scores

    def classify(self, data: bytes) -> list[LabelScore]:
        """The five best labels of an image, highest first (all of them where the model knows fewer).

        Raises ImageUnreadable where the bytes cannot be decoded, ModelBroken where the network answers with no
        probabilities.
        """
        return self.best(self.decode(data))

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """What the model sees of an image. Raises ImageUnreadable."""
        return to_tensor(data, self._spec)

    def best(self, tensor: NDArray[np.float32]) -> list[LabelScore]:
        """The best labels for what ``decode`` gave, as ``classify`` says. Raises ModelBroken."""
        scores = self.scores(tensor)
        count = min(TOP, len(scores))
        best = np.argpartition(scores, -count)[-count:]
        best = best[np.argsort(scores[best])[::-1]]
        try:
            return [LabelScore(self.model.labels[i], round(float(scores[i]), CONFIDENCE_DIGITS)) for i in best]
        except ValueError as error:
            raise ModelBroken(
                f"The model {self.model.name} answers with no probabilities ({error}): "
                'if they are logits, say activation = "softmax" in its manifest.'
            ) from error


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max())
    scores: NDArray[np.float32] = powers / powers.sum()
    return scores
