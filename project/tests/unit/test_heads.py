"""Heads of custom models: regression, cross-validation, and the answer for images that are unlike all examples."""

import io
from dataclasses import replace

import numpy as np
import pytest

from app.classifier.heads.head import Head
from app.classifier.heads.metrics import metrics_of
from app.classifier.heads.regression import LENGTH, fit
from app.classifier.heads.validation import MAX_FALSE_ALARMS, split, train
from app.classifier.intervals import wilson_interval
from app.classifier.similarity import near_duplicates
from app.domain import ExamplesMissing, ModelBroken

FEATURES = 64

EXPECTED_WEIGHTS = [[0.18282, -0.09351, -0.08931], [-0.09263, 0.19778, -0.10515], [-0.11088, -0.08425, 0.19513]]
EXPECTED_BIAS = [0.15085, -0.23232, 0.08147]


def clusters(*counts: int, seed: int = 1, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around one direction for each label, and their labels."""
    random = np.random.default_rng(seed)
    centres = np.abs(random.normal(size=(len(counts), FEATURES)))
    rows = [
        centre + spread * random.normal(size=FEATURES)
        for centre, n in zip(centres, counts, strict=True)
        for _ in range(n)
    ]
    return np.array(rows, np.float32), np.repeat(np.arange(len(counts)), counts)


def test_regression_agrees_with_scikit_learn() -> None:
    """Expected: scikit-learn 1.9.1, LogisticRegression(C=0.05, class_weight="balanced", tol=1e-10)."""
    inputs = np.array(
        [[4, 0, 1], [3, 1, 0], [4, 1, 1], [0, 5, 1], [1, 4, 0], [0, 1, 4], [1, 0, 3], [2, 0, 4], [1, 1, 5]], np.float32
    )
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    # The penalty refers to embeddings of this length.
    inputs *= LENGTH / np.linalg.norm(inputs, axis=1).mean()
    weights, bias = fit(inputs, labels, 3)
    assert weights == pytest.approx(np.array(EXPECTED_WEIGHTS), abs=1e-3)
    assert bias - bias.mean() == pytest.approx(np.array(EXPECTED_BIAS), abs=1e-2)


def test_same_examples_give_the_same_head() -> None:
    embeddings, labels = clusters(8, 12, 5)
    first, _ = train(embeddings, labels, ["a", "b", "c"])
    second, _ = train(embeddings.copy(), labels.copy(), ["a", "b", "c"])
    assert first.to_bytes() == second.to_bytes()


def test_head_is_stored_and_read_without_loss() -> None:
    embeddings, labels = clusters(6, 6)
    head, _ = train(embeddings, labels, ["rot", "grün"])
    again = Head.from_bytes(head.to_bytes())
    assert again.labels == ("rot", "grün")
    assert [again.classify(one) for one in embeddings] == [head.classify(one) for one in embeddings]


def test_new_images_get_the_label_of_their_like() -> None:
    embeddings, labels = clusters(10, 10, 10)
    head, _ = train(embeddings[::2], labels[::2], ["a", "b", "c"])
    answers = [head.classify(one)[0].label for one in embeddings[1::2]]
    assert answers == ["abc"[label] for label in labels[1::2]]


def test_image_unlike_all_examples_is_other() -> None:
    embeddings, labels = clusters(20, 20)
    head, _ = train(embeddings, labels, ["a", "b"])
    stranger = np.zeros(FEATURES, np.float32)
    stranger[0] = 5
    other, *rest = head.classify(stranger)
    assert other.label == "other"
    assert other.confidence > 0.9
    assert other.confidence + sum(score.confidence for score in rest) == pytest.approx(1, abs=1e-4)


def test_at_most_five_labels_are_answered() -> None:
    embeddings, labels = clusters(*[4] * 7)
    head, _ = train(embeddings, labels, [f"label {n}" for n in range(7)])
    assert len(head.classify(embeddings[0])) == 5


def test_near_duplicates_are_in_one_fold() -> None:
    embeddings, labels = clusters(12, 12)
    copies = embeddings[:6] * 1.5 + 0.001
    everything, all_labels = np.concatenate((embeddings, copies)), np.concatenate((labels, labels[:6]))
    groups = near_duplicates(everything)
    assert (groups[:6] == groups[24:]).all()
    folds = split(all_labels, groups)
    assert (folds[:6] == folds[24:]).all()
    assert {tuple(np.bincount(all_labels[folds == fold], minlength=2) > 0) for fold in range(5)} == {(True, True)}


def test_fewer_examples_than_folds_are_each_left_out_once() -> None:
    embeddings, labels = clusters(3, 9)
    folds = split(labels, near_duplicates(embeddings))
    assert sorted(folds[labels == 0]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((5,), "at least 2 labels; there are 1"),
        ((5, 2), "add 1 more of 'b'"),
        ((1, 2, 9), "add 2 more of 'a', 1 more of 'b'"),
    ],
)
def test_refusal_says_how_many_examples_are_missing(counts: tuple[int, ...], message: str) -> None:
    embeddings, labels = clusters(*counts)
    with pytest.raises(ExamplesMissing, match=message):
        train(embeddings, labels, list("abc"[: len(counts)]))


def test_label_of_one_picture_in_many_copies_is_refused() -> None:
    embeddings, labels = clusters(5, 1)
    embeddings, labels = np.concatenate((embeddings, embeddings[5:] * [[1.1], [1.2]])), np.append(labels, [1, 1])
    with pytest.raises(ExamplesMissing, match="All examples of 'b' are near-duplicates"):
        train(embeddings.astype(np.float32), labels, ["a", "b"])


def test_metrics_count_what_cross_validation_answered() -> None:
    embeddings, labels = clusters(10, 10)
    # One example bears the other's label, so it is answered wrongly.
    labels[0] = 1
    head, validation = train(embeddings, labels, ["a", "b"])
    metrics = metrics_of(labels, ["a", "b"], head, validation)
    assert metrics["confusion"] == [[9, 0], [1, 10]]
    assert metrics["accuracy"] == 0.95
    assert metrics["accuracy_interval"] == [round(bound, 4) for bound in wilson_interval(19, 20)]
    assert metrics["labels"][1] == {"label": "b", "examples": 11, "precision": 1.0, "recall": 0.9091, "other": 0}
    assert metrics["folds"] == 5


def test_examples_that_get_other_are_not_right() -> None:
    embeddings, labels = clusters(10, 10)
    head, validation = train(embeddings, labels, ["a", "b"])
    similarities = validation.similarities.copy()
    similarities[:2] = head.threshold - 0.01
    metrics = metrics_of(labels, ["a", "b"], head, replace(validation, similarities=similarities))
    assert metrics["accuracy"] == 0.9
    assert metrics["confusion"] == [[8, 0], [0, 10]]
    assert metrics["labels"][0] == {"label": "a", "examples": 10, "precision": 1.0, "recall": 0.8, "other": 2}
    assert metrics["other"]["false_alarms"] == 0.1


def test_pickles_are_refused() -> None:
    file = io.BytesIO()
    np.savez(file, labels=np.array([{"a": 1}], object), weights=0, bias=0, references=0, similarity=np.zeros(2))
    with pytest.raises(ModelBroken, match="cannot be read"):
        Head.from_bytes(file.getvalue())


def test_damaged_heads_are_refused() -> None:
    embeddings, labels = clusters(5, 5)
    head, _ = train(embeddings, labels, ["a", "b"])
    for data in (b"", b"PK", head.to_bytes()[:-100], head.to_bytes().replace(b"weights.npy", b"weightz.npy")):
        with pytest.raises(ModelBroken):
            Head.from_bytes(data)
    for name, value in {
        "weights": head.weights[:, :1],
        "bias": np.full(2, np.nan),
        "references": head.references[:0],
    }.items():
        arrays = {"labels": np.array(head.labels), "weights": head.weights, "bias": head.bias}
        file = io.BytesIO()
        changed = {**arrays, "references": head.references, "similarity": np.array([0.5, 0.1]), name: value}
        np.savez(file, allow_pickle=False, **changed)
        with pytest.raises(ModelBroken):
            Head.from_bytes(file.getvalue())


def test_other_images_raise_the_threshold() -> None:
    embeddings, labels = clusters(40, 40)
    head, before = train(embeddings, labels, ["a", "b"])
    mixed = (embeddings[:40] + embeddings[40:]) / 2
    others = (mixed + 0.6 * np.random.default_rng(5).normal(size=mixed.shape)).astype(np.float32)
    raised, validation = train(embeddings, labels, ["a", "b"], others)
    assert raised.threshold > head.threshold
    assert (validation.others < raised.threshold).mean() > (validation.others < head.threshold).mean()
    assert (before.similarities < raised.threshold).mean() <= MAX_FALSE_ALARMS
    metrics = metrics_of(labels, ["a", "b"], raised, validation)["other"]
    assert metrics["images"] == 40
    assert metrics["recognized"] == pytest.approx((validation.others < raised.threshold).mean(), abs=1e-4)
    assert Head.from_bytes(raised.to_bytes()).threshold == pytest.approx(raised.threshold)


def test_other_images_like_the_examples_leave_the_threshold() -> None:
    embeddings, labels = clusters(20, 20)
    head, _ = train(embeddings, labels, ["a", "b"])
    same, _ = train(embeddings, labels, ["a", "b"], embeddings)
    assert same.threshold == pytest.approx(head.threshold)


def test_heads_of_earlier_versions_are_read() -> None:
    embeddings, labels = clusters(6, 6)
    head, _ = train(embeddings, labels, ["a", "b"])
    with np.load(io.BytesIO(head.to_bytes())) as file:
        arrays = dict(file)
    arrays["similarity"] = arrays["similarity"][:2]
    earlier = io.BytesIO()
    np.savez(earlier, **arrays)
    assert Head.from_bytes(earlier.getvalue()).threshold == head.threshold
