"""Accuracy of MobileNetV2 in int8, on both of its runtimes.

Calibrated on the images it is judged on; what it says of others is in ``docs/models.md``.
"""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import ImageManifest, Model, RuntimeName, read_model

pytestmark = pytest.mark.slow

MOST_LOST = 0
"""Images: calibrated on these, int8 lost none of the 40; with one, it would have lost more than 2 points of top-1."""


def right(classifier: Classifier, images: Path) -> int:
    with (images / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    said = [classifier.classify((images / row["file"]).read_bytes())[0].label for row in rows]
    return sum(label == row["label"] for label, row in zip(said, rows, strict=True))


def run_by(runtime: RuntimeName, model: Model) -> Classifier:
    assert isinstance(model.manifest, ImageManifest)
    return Classifier(replace(model, manifest=model.manifest.model_copy(update={"runtime": runtime})), threads=1)


@pytest.mark.usefixtures("mobilenet_weights")
def test_int8_is_as_accurate_as_fp32(all_models: Path, labelled_images: Path) -> None:
    fp32 = right(Classifier(read_model(all_models / "mobilenet_v2"), threads=1), labelled_images)
    int8 = read_model(all_models / "mobilenet_v2_int8")
    assert isinstance(int8.manifest, ImageManifest)
    assert int8.manifest.runtime == "onnx", f"{int8.folder} is of before: delete it"
    assert right(run_by("onnx", int8), labelled_images) >= fp32 - MOST_LOST
    assert right(run_by("openvino", int8), labelled_images) >= fp32 - MOST_LOST
    assert int8.path.stat().st_size < 0.4 * read_model(all_models / "mobilenet_v2").path.stat().st_size
