"""Export of Keras applications and users' own models."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import ImageManifest, RuntimeName, read_model
from app.images.preprocessing import InputSpec, to_tensor
from tests.pictures import encoded, jpeg, scene

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("export_models.py")
PICTURE = jpeg(600, 400)


@pytest.fixture(scope="module")
def exported(export_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of exporting all models of the script, once."""
    folder = tmp_path_factory.mktemp("export")
    for size, short_side in ((32, 37), (224, 256)):
        np.save(folder / f"pixels{size}.npy", to_tensor(PICTURE, InputSpec(size, "crop", short_side, "rgb", 1.0, 0.0)))
    (folder / "pictures").mkdir()
    for width in range(200, 400, 20):
        (folder / "pictures" / f"{width}.jpg").write_bytes(encoded(scene(width, 300), "JPEG"))
    (folder / "pictures" / "notes.txt").write_text("no picture, and passed over")
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([export_python, str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def result(exported: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((exported / "result.json").read_text())
    return found


SCORED = (
    *("own", "sequential", "saved", "mobilenet_v3_small", "tutorial", "nested_sequential", "integers"),
    *("integers_saved", "binary", "binary_saved", "multilabel", "multilabel_saved", "several", "anysize", "mixed"),
    *("keras2", "keras2_zip"),
)


@pytest.mark.parametrize("name", SCORED)
def test_exported_model_returns_the_scores_of_the_original(exported: Path, result: dict[str, Any], name: str) -> None:
    model = read_model(exported / "models" / name)
    assert isinstance(model.manifest, ImageManifest)
    scores = Classifier(model, threads=1).scores(to_tensor(PICTURE, model.manifest.input.spec))
    np.testing.assert_allclose(scores, result["expected"][name], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "activation"),
    [("determined", "softmax"), ("sigmoid", "sigmoid"), ("none", "none"), ("multilabel", "none")],
)
def test_activation_follows_from_the_last_layer_or_is_chosen(exported: Path, name: str, activation: str) -> None:
    model = read_model(exported / "models" / name)
    assert isinstance(model.manifest, ImageManifest)
    assert model.manifest.output.activation == activation


def test_binary_model_gives_its_score_to_the_second_label(exported: Path, result: dict[str, Any]) -> None:
    model = read_model(exported / "models" / "binary")
    scores = {score.label: score.confidence for score in Classifier(model, threads=1).classify(PICTURE)}
    assert scores["yes"] == pytest.approx(result["expected"]["binary"][1], abs=1e-3)
    assert scores["no"] + scores["yes"] == pytest.approx(1, abs=1e-5)


def test_version_covers_labels_preprocessing_and_variables(result: dict[str, Any]) -> None:
    versions = result["versions"]
    assert len({version for version, _ in versions.values()}) == len(versions)
    # All but the last are the same weights.
    assert len({weights for _, weights in versions.values()}) == 2


def test_manifest_records_logits_and_squashing(exported: Path, result: dict[str, Any]) -> None:
    model = read_model(exported / "models" / "named")
    assert isinstance(model.manifest, ImageManifest)
    assert model.manifest.output.activation == "softmax"
    assert model.manifest.input.resize == "squash"
    cropped = model.manifest.input.model_copy(update={"resize": "crop"}).spec
    scores = Classifier(model, threads=1).scores(to_tensor(PICTURE, cropped))
    np.testing.assert_allclose(scores, result["expected"]["named"], atol=1e-3)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("name", ["own", "saved", "named", "convolutional"])
def test_int8_model_keeps_small_scores(exported: Path, result: dict[str, Any], name: str, runtime: RuntimeName) -> None:
    model = read_model(exported / "models" / f"{name}_int8")
    original = read_model(exported / "models" / name)
    assert isinstance(original.manifest, ImageManifest)
    assert isinstance(model.manifest, ImageManifest)
    assert model.name == f"{name}_int8"
    assert model.version == f"{model.fingerprint[:12]}-int8"
    assert model.fingerprint == model.manifest.fingerprint
    assert model.manifest.precision == "int8"
    assert model.manifest.runtime == "onnx"
    assert model.manifest.input == original.manifest.input
    assert model.manifest.output == original.manifest.output
    other = replace(model, manifest=model.manifest.model_copy(update={"runtime": runtime}))
    cropped = model.manifest.input.model_copy(update={"resize": "crop"}).spec
    scores = Classifier(other, threads=1).scores(to_tensor(PICTURE, cropped))
    np.testing.assert_allclose(scores, result["expected"][name], atol=0.02)
    assert scores.min() > 0
    graph = model.path.read_bytes()
    assert b"QuantizeLinear" in graph
    assert b"DequantizeLinear" in graph


@pytest.mark.parametrize("name", ["own", "convolutional"])
def test_input_of_a_softmax_stays_float(result: dict[str, Any], name: str) -> None:
    assert "DequantizeLinear" not in result["before_softmax"][name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no source", "Nonsense is neither a keras.applications model"),
        ("no labels", "add --labels FILE"),
        ("no preprocessing", "add --preprocessing"),
        ("no calibration", "set CALIBRATION_IMAGES"),
        ("other labels", "The model has 6 labels, but "),
        ("broken", "Keras cannot load "),
        ("unconvertible", "cannot be converted to LiteRT: LiteRT has no StatelessRandomGetKeyCounter"),
        ("weights of another", "MobileNetV3Small cannot be built with the weights "),
        ("custom layer", "it uses Custom, which is not part of Keras"),
        ("lambda", "it contains a Lambda layer, which is code"),
        ("lambda of Keras 2", "it contains a Lambda layer, which is code"),
        ("operation in h5", "it uses operations, which Keras does not read from .h5 files"),
        ("operation like a layer in h5", "it uses operations, which Keras does not read from .h5 files"),
        ("only weights", "it contains only weights: save the whole model"),
        ("two inputs", "); it must have one, the image."),
        ("two outputs", "The model has several outputs: a (None, 6), b (None, 6). Name one with --output."),
        ("another output", "The model has no output sort; it has box (None, 4), kind (None, 6)."),
        ("map", "The model's output is (None, 32, 32, 6); it must be (batch, labels)."),
        ("oblong", "The model's input is (None, 32, 48, 3); it must be square."),
        ("grey", "The model's input is (None, 32, 32, 1); it must be (batch, size, size, 3)."),
        ("flat", "The model's input is (None, 3072); it must be (batch, size, size, 3)."),
        ("fixed batch", "The model's input is (8, 32, 32, 3); it must accept batches of any size"),
        ("another size", "leave out --size, or set it to 32"),
        ("normalized", "The model's input is uint8, that is pixels of 0 to 255: add --preprocessing raw."),
        ("normalized saved", "The model's input is uint8, that is pixels of 0 to 255: add --preprocessing raw."),
        ("not a model", "must be a .keras file, an .h5 file, or the folder of a SavedModel"),
        ("not a SavedModel", "is not a SavedModel: it has no saved_model.pb"),
        ("doubled labels", "line 3 repeats the label of line 1, 'one'"),
    ],
)
def test_export_error_is_reported_in_one_line(result: dict[str, Any], name: str, message: str) -> None:
    assert message in result["errors"][name]
    assert "\n" not in result["errors"][name]


def test_preprocessing_of_keras_applications_is_detected(result: dict[str, Any]) -> None:
    for name, expected in result["named"].items():
        found = result["preprocessings"][name]
        assert found.get("channels", "rgb") == expected.get("channels", "rgb"), name
        for part in ("scale", "offset"):
            np.testing.assert_allclose(found[part], expected[part], rtol=1e-4, atol=1e-6, err_msg=name)


def test_default_names_are_easy_to_type(result: dict[str, Any]) -> None:
    assert result["names"] == {
        "MobileNetV2": "mobilenet_v2",
        "MobileNetV3Large": "mobilenet_v3_large",
        "EfficientNetB0": "efficientnet_b0",
        "EfficientNetV2S": "efficientnet_v2_s",
        "ResNet50": "resnet50",
        "ResNet50V2": "resnet50_v2",
        "NASNetMobile": "nasnet_mobile",
        "ConvNeXtTiny": "convnext_tiny",
        "InceptionResNetV2": "inceptionresnet_v2",
        "VGG16": "vgg16",
        "Xception": "xception",
    }
