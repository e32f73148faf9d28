"""Cross-validation of a head: each example is answered by a head that was trained without it and its like."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.classifier.heads.head import Head, similarity_to
from app.classifier.heads.regression import Floats, Indexes, fit
from app.classifier.similarity import Groups, near_duplicates, unit
from app.domain import ExamplesMissing

FOLDS: Final = 5
MIN_LABELS: Final = 2
MIN_EXAMPLES: Final = 3
"""Of each label."""
MIN_DIFFERENT: Final = 2
"""Of each label, not counting near-duplicates: one to train with while another is held out."""
MAX_REFERENCES: Final = 300
"""Examples that a head keeps to compare images with: comparing takes 0.1 ms, and their memory is 1.5 MB."""
MAX_FALSE_ALARMS: Final = 0.05
"""Share of the examples that may become ``other`` so that other images are recognized."""
MIN_SPREAD: Final = 0.01
"""Of similarities: examples that are all alike say little about how unlike others may be."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Answers of cross-validation for each example: index of a label, its confidence, similarity to other examples."""

    answers: Indexes
    confidences: Floats
    similarities: Floats
    groups: Groups
    """Examples with the same number are near-duplicates."""
    folds: int
    others: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    """Similarities of other images to the examples."""


def train(
    embeddings: Floats, labels: Indexes, names: Sequence[str], others: Floats | None = None
) -> tuple[Head, Validation]:
    """Validate and train a head. ``embeddings``: shape (examples, features); ``labels``: indexes of ``names``.

    ``others``: embeddings of images that have none of the labels. Raises ExamplesMissing.
    """
    groups = near_duplicates(embeddings)
    check_examples(labels, names, groups)
    validation = cross_validate(embeddings, labels, len(names), groups)
    weights, bias = fit(embeddings, labels, len(names))
    head = Head(
        tuple(names),
        weights,
        bias,
        references=unit(embeddings)[_evenly_chosen(labels)].astype(np.float16).astype(np.float32),
        similarity=float(validation.similarities.mean()),
        spread=max(float(validation.similarities.std(ddof=1)), MIN_SPREAD),
    )
    if others is None or not len(others):
        return head, validation
    validation = replace(validation, others=similarity_to(head.references, unit(others)))
    return replace(head, deviations=_deviations(head, validation)), validation


def _deviations(head: Head, validation: Validation) -> float:
    """The deviations that best tell other images from examples, with at most ``MAX_FALSE_ALARMS`` among the examples.

    At most as many as without other images.
    """
    best, best_gain = head.threshold, float("-inf")
    # Just above each other image: in between, no more of them are recognized.
    above = np.nextafter(validation.others[validation.others >= head.threshold], np.float32(2))
    for threshold in (head.threshold, *sorted(float(value) for value in above)):
        false_alarms = float((validation.similarities < threshold).mean())
        if threshold > head.threshold and false_alarms > MAX_FALSE_ALARMS:
            break
        gain = float((validation.others < threshold).mean()) - false_alarms
        if gain > best_gain:
            best, best_gain = threshold, gain
    return (head.similarity - best) / head.spread


def check_examples(labels: Indexes, names: Sequence[str], groups: Groups) -> None:
    """Raises ExamplesMissing, which says what is missing, if there are too few labels or examples."""
    if len(names) < MIN_LABELS:
        raise ExamplesMissing(f"A model needs examples of at least {MIN_LABELS} labels; there are {len(names)}.")
    counts = np.bincount(labels, minlength=len(names))
    missing = [
        f"{MIN_EXAMPLES - count} more of {name!r}"
        for name, count in zip(names, counts, strict=True)
        if count < MIN_EXAMPLES
    ]
    if missing:
        raise ExamplesMissing(f"Each label needs at least {MIN_EXAMPLES} examples: add {', '.join(missing)}.")
    for index, name in enumerate(names):
        if len(np.unique(groups[labels == index])) < MIN_DIFFERENT:
            raise ExamplesMissing(f"All examples of {name!r} are near-duplicates. Add different images.")


def cross_validate(embeddings: Floats, labels: Indexes, count: int, groups: Groups) -> Validation:
    """Answer each example by a head that was trained on the other folds."""
    folds = split(labels, groups)
    answers = np.zeros(len(labels), np.int64)
    confidences, similarities = np.zeros(len(labels), np.float32), np.zeros(len(labels), np.float32)
    units = unit(embeddings)
    for fold in range(int(folds.max()) + 1):
        held_out = folds == fold
        weights, bias = fit(embeddings[~held_out], labels[~held_out], count)
        logits = embeddings[held_out] @ weights + bias
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        answers[held_out] = scores.argmax(axis=1)
        confidences[held_out] = scores.max(axis=1)
        similarities[held_out] = similarity_to(units[~held_out], units[held_out])
    return Validation(answers, confidences, similarities, groups, int(folds.max()) + 1)


def split(labels: Indexes, groups: Groups) -> NDArray[np.int64]:
    """A fold for each example: near-duplicates are in one, and each fold has examples of as many labels as possible.

    There are FOLDS folds, or fewer if a label has fewer different examples; then each fold leaves out one of them.
    """
    count = min(FOLDS, *(len(np.unique(groups[labels == label])) for label in np.unique(labels)))
    folds = np.zeros(len(labels), np.int64)
    used = np.zeros((count, int(labels.max()) + 1), np.int64)
    # Large groups first, because they are the hardest to place evenly; then in the order of the examples.
    numbers, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    for number in numbers[np.lexsort((first, -sizes))]:
        members = groups == number
        held = np.bincount(labels[members], minlength=used.shape[1])
        # The fold with the fewest examples of these labels, then with the fewest of all.
        fold = min(range(count), key=lambda n: (int(used[n][held > 0].sum()), int(used[n].sum())))
        folds[members] = fold
        used[fold] += held
    return folds


def _evenly_chosen(labels: Indexes) -> Indexes:
    """Indexes of at most MAX_REFERENCES examples, of each label in proportion."""
    order = np.argsort(labels, kind="stable")
    return np.sort(order[np.unique(np.linspace(0, len(order) - 1, min(MAX_REFERENCES, len(order))).astype(np.int64))])
