"""The head of a custom model: a linear layer from a base model's embedding to a user's own labels."""

import io
import math
import zipfile
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.classifier.similarity import Floats, unit
from app.domain import CONFIDENCE_DIGITS, OTHER, TOP, LabelScore, ModelBroken

NEIGHBOURS: Final = 3
"""An image is as similar to the examples as it is, on average, to the nearest three (measured in record 39)."""
MAX_DEVIATIONS: Final = 2.5
"""Images are ``other`` if they are less similar to the examples than the examples are to each other, by this many
standard deviations, or by fewer if that tells known other images apart."""


@dataclass(frozen=True, slots=True)
class Head:
    """Weights and bias of each label, and what tells images that are unlike all examples."""

    labels: tuple[str, ...]
    weights: Floats
    """Shape (features, labels)."""
    bias: Floats
    """Shape (labels,)."""
    references: Floats
    """Unit embeddings of examples: shape (references, features). Stored in half precision."""
    similarity: float
    """Mean similarity of the examples to those that were not held out with them, -1..1."""
    spread: float
    """Standard deviation of these similarities."""
    deviations: float = MAX_DEVIATIONS
    """An image is ``other`` if its similarity is this many standard deviations below the mean."""

    @property
    def threshold(self) -> float:
        """Less similar images are ``other``."""
        return self.similarity - self.deviations * self.spread

    @property
    def features(self) -> int:
        """Length of the embeddings that it takes."""
        return int(self.weights.shape[0])

    def classify(self, embedding: Floats) -> list[LabelScore]:
        """The five best labels for an embedding of shape (features,), highest confidence first.

        An image that is unlike all examples gets ``other`` first. Its confidence is the share of examples that are
        more similar to the others than this image, by the normal distribution; the labels share the rest.
        """
        return self.best_and_all(embedding)[0]

    def best_and_all(self, embedding: Floats) -> tuple[list[LabelScore], Floats]:
        """What ``classify`` returns, and the scores of all labels: shape (labels,)."""
        logits = embedding @ self.weights + self.bias
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        answers: list[LabelScore] = []
        similarity = float(similarity_to(self.references, unit(embedding[np.newaxis]))[0])
        if similarity < self.threshold:
            known = _normal_share((similarity - self.similarity) / self.spread)
            scores = scores * known
            answers.append(LabelScore(OTHER, round(1 - known, CONFIDENCE_DIGITS)))
        best = np.argsort(-scores, kind="stable")[: TOP - len(answers)]
        answers += [LabelScore(self.labels[i], round(float(scores[i]), CONFIDENCE_DIGITS)) for i in best]
        return answers, scores

    def to_bytes(self) -> bytes:
        """The head as an ``.npz`` file of plain arrays; equal heads give equal bytes."""
        file = io.BytesIO()
        np.savez(
            file,
            labels=np.array(self.labels),
            weights=self.weights,
            bias=self.bias,
            references=self.references.astype(np.float16),
            similarity=np.array([self.similarity, self.spread, self.deviations]),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Head":
        """Read what ``to_bytes`` wrote; never unpickles. Raises ModelBroken."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                # Earlier versions of the service stored no deviations.
                similarity, spread, *deviations = (float(value) for value in file["similarity"])
                head = cls(
                    tuple(str(label) for label in file["labels"]),
                    file["weights"].astype(np.float32, copy=False),
                    file["bias"].astype(np.float32, copy=False),
                    file["references"].astype(np.float32),
                    similarity,
                    spread,
                    *deviations,
                )
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ModelBroken(f"The head cannot be read ({error}): train the model again.") from error
        head._check()
        return head

    def _check(self) -> None:
        matrices = (self.weights.ndim, self.references.ndim) == (2, 2)
        if not matrices or (self.weights.shape[1], self.bias.shape, self.references.shape[1]) != (
            len(self.labels),
            (len(self.labels),),
            self.features,
        ):
            raise ModelBroken("The head's arrays do not match its labels: train the model again.")
        numbers = (self.weights, self.bias, self.references, np.array([self.similarity, self.spread, self.deviations]))
        if not (len(self.references) and self.spread > 0 and all(np.isfinite(array).all() for array in numbers)):
            raise ModelBroken("The head contains invalid numbers: train the model again.")


def similarity_to(references: Floats, units: Floats) -> Floats:
    """How similar unit embeddings of shape (images, features) are to the nearest references: shape (images,), -1..1."""
    similarities = units @ references.T
    count = min(NEIGHBOURS, similarities.shape[1])
    nearest: Floats = np.partition(similarities, -count, axis=1)[:, -count:].mean(axis=1)
    return nearest


def _normal_share(deviations: float) -> float:
    """The share of a normal distribution below a number of standard deviations from its mean."""
    return 0.5 * math.erfc(-deviations / math.sqrt(2))
