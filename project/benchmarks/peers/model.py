"""The service's own model and preprocessing, for the peers: what differs is only what serves it."""

import os
from pathlib import Path

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model


def load(threads: int = 1) -> Classifier:
    """The model in ``MODEL_FOLDER``, loaded for so many threads."""
    return Classifier(read_model(Path(os.environ["MODEL_FOLDER"])), threads)


def answer(classifier: Classifier, data: bytes) -> dict[str, object]:
    """What the service would say of an image, as JSON."""
    scores = classifier.classify(data)
    return {
        "top_prediction": scores[0].label,
        "all_predictions": [{"label": score.label, "confidence": score.confidence} for score in scores],
    }
