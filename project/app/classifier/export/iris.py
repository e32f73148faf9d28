"""Two tabular models for the iris data set (Fisher, 1936), trained with scikit-learn and stored as ONNX."""

import hashlib
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import skl2onnx
import sklearn
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.classifier.export.folder import UNVERSIONED, install_model
from app.classifier.manifest import Feature, TabularManifest
from app.config import Settings
from app.domain import StartupError
from app.observability.log_events import MODEL_TRAINED

log = logging.getLogger(__name__)

SEED: Final = 8004
HELD_OUT: Final = 0.2
TOLERANCE: Final = 1e-4
MAX_CM: Final = 10.0

MODELS: Final[dict[str, Any]] = {
    "iris_logistic_regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "iris_random_forest": RandomForestClassifier(n_estimators=100, random_state=SEED),
}


def export_iris_models(settings: Settings) -> list[Path]:
    """Train both models and return their folders in ``MODELS_DIR``. Raises StartupError if ONNX gives other results."""
    iris = load_iris()
    rows = iris.data.astype(np.float32)
    train_rows, test_rows, train_labels, test_labels = train_test_split(
        rows, iris.target, test_size=HELD_OUT, random_state=SEED, stratify=iris.target
    )
    folders = []
    for name, classifier in MODELS.items():
        classifier.fit(train_rows, train_labels)
        accuracy = classifier.score(test_rows, test_labels)
        log.info(MODEL_TRAINED, name, 100 * accuracy, len(test_rows))
        onnx = _converted(name, classifier, rows)
        labels = [str(label) for label in iris.target_names]
        folders.append(_export(settings, name, onnx, _features(rows), labels))
    return folders


def _converted(name: str, classifier: Any, rows: NDArray[np.float32]) -> bytes:
    """The classifier as ONNX with plain probabilities, compared with scikit-learn's on all rows."""
    initial_types = [("features", skl2onnx.common.data_types.FloatTensorType([None, rows.shape[1]]))]
    onnx: bytes = skl2onnx.to_onnx(
        classifier, initial_types=initial_types, options={id(classifier): {"zipmap": False}}
    ).SerializeToString()
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"features": rows})
    difference = float(np.abs(probabilities - classifier.predict_proba(rows)).max())
    if not difference < TOLERANCE:
        raise StartupError(
            f"The probabilities of {name} as ONNX differ from scikit-learn's by {difference:.2g}, so it was discarded."
        )
    return onnx


def _features(rows: NDArray[np.float32]) -> tuple[Feature, ...]:
    parts = [
        (f"{leaf}_{side}", f"{side.capitalize()} of the {leaf}.")
        for leaf in ("sepal", "petal")
        for side in ("length", "width")
    ]
    return tuple(
        Feature(
            name=name,
            unit="cm",
            minimum=0.0,
            maximum=MAX_CM,
            default=round(float(np.median(rows[:, column])), 2),
            description=description,
        )
        for column, (name, description) in enumerate(parts)
    )


def _export(settings: Settings, name: str, onnx: bytes, features: tuple[Feature, ...], labels: list[str]) -> Path:
    digest = hashlib.sha256(onnx).hexdigest()
    manifest = TabularManifest(
        name=name,
        kind="tabular",
        version=UNVERSIONED,
        weights_sha256=digest,
        weights_source="scikit-learn's iris data set",
        exporter=f"scikit-learn {sklearn.__version__}, skl2onnx {skl2onnx.__version__}",
        file=f"{name}.onnx",
        labels="labels.txt",
        features=features,
    )
    return install_model(settings.models, manifest, onnx, labels)
