"""The real models: scores equal to Keras' and correct labels for real pictures."""

import csv
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import ImageManifest, OutputTable, read_model
from app.config import Settings
from app.domain import ModelBroken
from app.images.preprocessing import to_tensor
from tests.conftest import FALLBACK
from tests.integration.conftest import serving
from tests.pictures import jpeg

pytestmark = pytest.mark.process


def test_labels_equal_those_of_keras(models_dir: Path) -> None:
    labels = read_model(models_dir / "efficientnet_lite0").labels
    assert len(labels) == 1000
    text = {0: "tench", 285: "Egyptian_cat", 281: "tabby", 607: "jack-o'-lantern", 999: "toilet_tissue"}
    assert {index: labels[index] for index in text} == text


@pytest.mark.all_models
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
async def test_labelled_images_are_recognised(
    name: str, settings: Settings, labelled_images: Path, request: pytest.FixtureRequest
) -> None:
    if name == "mobilenet_v2":
        request.getfixturevalue("mobilenet_weights")
    with (labelled_images / "labels.csv").open() as file:
        expected = {row["file"]: row["label"] for row in csv.DictReader(file)}
    assert len(expected) == 40
    first = among_five = 0
    async with serving(settings.model_copy(update={"model": name})) as client:
        for picture, label in expected.items():
            data = (labelled_images / picture).read_bytes()
            answer = await client.post("/predictions/", files={"file": (picture, data)}, headers={"Prefer": "wait=30"})
            row = answer.json()
            first += row["top_prediction"] == label
            among_five += label in [one["label"] for one in row["all_predictions"]]
    assert first / 40 >= 0.85
    assert among_five / 40 >= 0.95


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("model.toml", b"name = ", "cannot be read"),
        ("model.toml", b'name = "x"', "broken: manifest: Unable to extract tag using discriminator 'kind'"),
        ("model.toml", b'name = "../x"\nkind = "image"', "broken: name: String should match pattern"),
        ("labels.txt", b"one\ntwo\n", "no float32 output of 2 scores"),
        ("labels.txt", b"\n", "one label per line"),
        ("labels.txt", None, "labels.txt is missing"),
        ("efficientnet_lite0.tflite", None, "efficientnet_lite0.tflite is missing"),
        ("efficientnet_lite0.tflite", b"no model", "LiteRT cannot load"),
    ],
)
def test_broken_folder_is_reported_in_one_line(
    models_dir: Path, tmp_path: Path, file: str, content: bytes | None, text: str
) -> None:
    for path in (models_dir / FALLBACK).iterdir():
        shutil.copy(path, tmp_path)
    # Its names would not fit other labels.
    (tmp_path / "labels.json").unlink(missing_ok=True)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelBroken, match=text) as raised:
        Classifier(read_model(tmp_path), threads=1)
    assert "\n" not in raised.value.message


def test_scores_that_are_not_probabilities_mark_the_model_as_broken(models_dir: Path) -> None:
    classifier = Classifier(read_model(models_dir / FALLBACK), threads=1)
    logits = np.linspace(-3, 9, 1000, dtype=np.float32)
    with (
        patch.object(classifier, "scores", return_value=logits),
        pytest.raises(ModelBroken, match='set activation = "softmax"'),
    ):
        classifier.classify(jpeg())


def test_logits_become_probabilities_if_the_manifest_says_softmax(models_dir: Path) -> None:
    model = read_model(models_dir / FALLBACK)
    assert isinstance(model.manifest, ImageManifest)
    softmax = model.manifest.model_copy(update={"output": OutputTable(activation="softmax")})
    scores = Classifier(replace(model, manifest=softmax), threads=1).scores(to_tensor(jpeg()))
    assert scores.sum() == pytest.approx(1)
    # Of what were probabilities already, differences of at most 1: nothing is more than e times likelier than another.
    assert 1 < scores.max() / scores.min() <= np.e + 1e-3


def test_openvino_returns_the_same_scores(models_dir: Path) -> None:
    model = read_model(models_dir / FALLBACK)
    assert isinstance(model.manifest, ImageManifest)
    other = replace(model, manifest=model.manifest.model_copy(update={"runtime": "openvino"}))
    expected = Classifier(model, threads=1).scores(to_tensor(jpeg()))
    found = Classifier(other, threads=2)
    for _ in range(3):
        np.testing.assert_allclose(found.scores(to_tensor(jpeg())), expected, atol=1e-4)


def test_missing_runtime_is_reported(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "app.classifier.runtimes.openvino", raising=False)
    model = read_model(models_dir / FALLBACK)
    assert isinstance(model.manifest, ImageManifest)
    other = replace(model, manifest=model.manifest.model_copy(update={"runtime": "openvino"}))
    with pytest.raises(ModelBroken, match="make openvino"):
        Classifier(other, threads=1)
