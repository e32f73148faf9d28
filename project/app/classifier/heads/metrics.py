"""What cross-validation says about a version of a custom model."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from app.classifier.heads.head import Head
from app.classifier.heads.regression import Indexes
from app.classifier.heads.validation import Validation
from app.classifier.intervals import wilson_interval

DIGITS: Final = 4


def metrics_of(labels: Indexes, names: Sequence[str], head: Head, validation: Validation) -> dict[str, Any]:
    """Accuracy with its interval, precision and recall of each label, and the confusion matrix, as JSON.

    ``labels``: the true ones, indexes of ``names``. Row and column of the matrix are the true and the answered label.
    Examples that get ``other`` are in no column, and wrong.
    """
    count = len(names)
    matrix = np.zeros((count, count), np.int64)
    is_known = validation.similarities >= head.threshold
    np.add.at(matrix, (labels[is_known], validation.answers[is_known]), 1)
    examples = np.bincount(labels, minlength=count)
    right, total = int(matrix.trace()), len(labels)
    refused = int((~is_known).sum())
    return {
        "folds": validation.folds,
        "near_duplicates": total - len(np.unique(validation.groups)),
        **share_with_interval(right, total),
        "labels": [
            {
                "label": name,
                "examples": int(examples[index]),
                "precision": ratio(int(matrix[index, index]), int(matrix[:, index].sum())),
                "recall": ratio(int(matrix[index, index]), int(examples[index])),
                "other": int(examples[index] - matrix[index].sum()),
            }
            for index, name in enumerate(names)
        ],
        "confusion": matrix.tolist(),
        "other": {
            "threshold": round(head.threshold, DIGITS),
            "false_alarms": ratio(refused, total),
            "images": len(validation.others),
            "recognized": ratio(int((validation.others < head.threshold).sum()), len(validation.others)),
        },
    }


def share_with_interval(right: int, total: int) -> dict[str, Any]:
    """The number of examples, the share that is right, and its 95 % interval."""
    return {
        "examples": total,
        "accuracy": ratio(right, total),
        "accuracy_interval": [round(bound, DIGITS) for bound in wilson_interval(right, total)],
    }


def ratio(part: int, total: int) -> float | None:
    """A share, 0..1; None of nothing."""
    return round(part / total, DIGITS) if total else None
