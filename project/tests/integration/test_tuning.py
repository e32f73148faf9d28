"""``classifier tune``: measures every runtime and precision, and makes one of them the default."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import openvino
import pytest

from app.classifier import registry
from app.classifier.export import tuning
from app.classifier.export.tuning import BASE, VARIANTS, Measurement, Tuning, Variant, fastest
from app.classifier.image_classifier import Classifier
from app.classifier.manifest import ImageManifest, Model, read_model
from app.classifier.registry import find_default
from app.config import Settings
from app.domain import StartupError
from app.images.preprocessing import to_tensor
from tests.conftest import FALLBACK
from tests.integration.conftest import serving
from tests.pictures import encoded, jpeg, scene

PROJECT = Path(__file__).parents[2]
OPENVINO = Variant("openvino", "fp32")
NOTE = "Chosen for a test."


@pytest.fixture
def models(models_dir: Path, tmp_path: Path) -> Path:
    """A folder of models that a test may change."""
    folder = tmp_path / "models"
    shutil.copytree(models_dir, folder)
    return folder


@pytest.fixture
def model(models: Path) -> Model:
    return read_model(models / FALLBACK)


@pytest.fixture
def tuning_settings(settings: Settings, models: Path) -> Settings:
    return settings.model_copy(update={"models_dir": models, "model": FALLBACK, "model_precision": "auto"})


@pytest.fixture
def _short() -> Iterator[None]:
    with patch.object(tuning, "SECONDS", 0.02), patch.object(tuning, "ROUNDS", 2):
        yield


def pictures(count: int) -> list[bytes]:
    return [jpeg(240 + 4 * number, 300) for number in range(count)]


@pytest.fixture
def chosen(tuning_settings: Settings, model: Model) -> str:
    """The name of a variant that was made the default: OpenVINO's, which every processor runs."""
    made = Tuning(tuning_settings, model)
    with patch.object(tuning, "VARIANTS", (BASE, OPENVINO)), patch.object(tuning, "SECONDS", 0.01):
        measurements = made.measure([to_tensor(picture) for picture in pictures(4)])
    (other,) = (one for one in measurements if one.variant == OPENVINO)
    return made.use(other, NOTE)


@pytest.mark.slow
@pytest.mark.usefixtures("_short")
def test_every_variant_is_measured_or_says_why_not(tuning_settings: Settings, model: Model) -> None:
    measurements = Tuning(tuning_settings, model).measure([to_tensor(picture) for picture in pictures(80)])
    assert {one.variant for one in measurements} == set(VARIANTS)
    for one in measurements:
        if one.variant == Variant("openvino", "bf16") and one.reason:
            assert one.reason == "This processor has no instructions for bfloat16."
            continue
        assert one.reason == ""
        assert len(one.milliseconds) == 2
        assert one.median > 0
        assert one.agreement == 1 if one.variant.precision == "fp32" else one.agreement > 0.5
    medians = [one.median for one in measurements if one.milliseconds]
    assert medians == sorted(medians)


@pytest.mark.usefixtures("_short")
def test_variants_that_cannot_be_made_have_a_reason(tuning_settings: Settings, model: Model) -> None:
    with patch.object(tuning, "runtime_version", lambda name: None if name == "openvino" else "1"):
        measurements = Tuning(tuning_settings, model).measure([to_tensor(picture) for picture in pictures(4)])
    reasons = {one.variant: one.reason for one in measurements}
    assert reasons[Variant("openvino", "bf16")] == "openvino is not installed."
    assert reasons[Variant("onnx", "int8")] == "It needs 80 images."
    assert reasons[BASE] == ""


def test_fastest_variant_within_the_agreement_is_chosen() -> None:
    def measured(variant: Variant, milliseconds: float, agreement: float) -> Measurement:
        return Measurement(variant, milliseconds=[milliseconds], agreement=agreement)

    int8 = measured(Variant("openvino", "int8"), 1.4, 0.96)
    bf16 = measured(Variant("openvino", "bf16"), 1.5, 0.99)
    missing = Measurement(Variant("onnx", "int8"), reason="not installed")
    measurements = [int8, bf16, measured(BASE, 3.4, 1.0), missing]
    assert fastest(measurements, 0.98) is bf16
    assert fastest(measurements, 0.95) is int8
    assert fastest(measurements, 1.0).variant == BASE


async def test_chosen_variant_is_served_and_says_why(tuning_settings: Settings, model: Model, chosen: str) -> None:
    assert chosen == f"{FALLBACK}_openvino"
    async with serving(tuning_settings) as client:
        answer = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers={"Prefer": "wait=30"})
        listed = (await client.get("/models")).json()
    assert answer.json()["model"] == chosen
    assert answer.json()["status"] == "succeeded"
    assert answer.json()["model_version"] != model.version
    assert (listed[0]["name"], listed[0]["runtime"], listed[0]["precision"]) == (chosen, "openvino", "fp32")
    assert listed[0]["default"]
    assert listed[0]["note"] == NOTE
    assert listed[1]["name"] == FALLBACK


def test_choice_counts_only_while_model_precision_is_auto(models: Path, chosen: str) -> None:
    assert find_default(models, FALLBACK, "auto")[0].name == chosen
    assert find_default(models, FALLBACK, "fp32")[0].name == FALLBACK


def test_float32_model_is_served_if_the_chosen_runtime_is_missing(models: Path, chosen: str) -> None:
    with patch.object(registry, "runtime_version", return_value=None):
        model, note = find_default(models, FALLBACK, "auto")
    assert model.name == FALLBACK
    assert note == (
        f"{chosen} needs openvino, which is not installed: {FALLBACK} is served instead. Run `make openvino`."
    )


@pytest.mark.parametrize("damage", ["folder", "choice"])
def test_float32_model_is_served_if_the_choice_is_damaged(models: Path, chosen: str, damage: str) -> None:
    if damage == "folder":
        (models / chosen / "labels.txt").unlink()
    else:
        (models / "tuned.json").write_text("{")
    assert find_default(models, FALLBACK, "auto")[0].name == FALLBACK


def test_float32_model_is_served_if_it_was_exported_again_from_other_weights(models: Path, chosen: str) -> None:
    manifest = models / FALLBACK / "model.toml"
    manifest.write_text(re.sub('weights_sha256 = "..', 'weights_sha256 = "00', manifest.read_text()))
    model, note = find_default(models, FALLBACK, "auto")
    assert model.name == FALLBACK
    assert note
    assert note.startswith(f"{chosen} was made from other weights or labels. {FALLBACK} is served instead")


async def test_chosen_variant_that_cannot_be_loaded_names_the_remedy(
    tuning_settings: Settings, models: Path, chosen: str
) -> None:
    (models / chosen / f"{chosen}.tflite").write_bytes(b"no model")
    with pytest.raises(StartupError, match=r"chose it: run `\./classifier tune --use`, or set MODEL_PRECISION=fp32"):
        async with serving(tuning_settings):
            pass


@pytest.mark.usefixtures("chosen")
def test_choice_of_the_float32_model_removes_an_earlier_one(
    tuning_settings: Settings, models: Path, model: Model
) -> None:
    assert Tuning(tuning_settings, model).use(Measurement(BASE), NOTE) == FALLBACK
    assert find_default(models, FALLBACK, "auto")[0].name == FALLBACK


def test_bfloat16_is_a_version_of_its_own(models: Path, model: Model) -> None:
    """Its file is the same as in fp32, but results differ."""
    assert isinstance(model.manifest, ImageManifest)
    text = (models / FALLBACK / "model.toml").read_text()
    versions = set()
    for precision in ("fp32", "bf16"):
        changed = text.replace('runtime = "litert"', 'runtime = "openvino"')
        (models / FALLBACK / "model.toml").write_text(
            changed.replace('precision = "fp32"', f'precision = "{precision}"')
        )
        versions.add(read_model(models / FALLBACK).version)
    assert len({model.version, *versions}) == 3


def test_bfloat16_calculation_differs_from_float32_by_little(models: Path, model: Model) -> None:
    expected = Classifier(model, threads=1).scores(to_tensor(jpeg()))
    text = (models / FALLBACK / "model.toml").read_text()
    text = text.replace('runtime = "litert"', 'runtime = "openvino"').replace('"fp32"', '"bf16"')
    (models / FALLBACK / "model.toml").write_text(text)
    found = Classifier(read_model(models / FALLBACK), threads=1).scores(to_tensor(jpeg()))
    assert found.argmax() == expected.argmax()
    assert np.abs(found - expected).max() < 0.05
    # OpenVINO may calculate in float32 on processors without the instructions.
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert np.abs(found - expected).max() > 0


def tune(models: Path, tmp_path: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    environment = {"MODELS_DIR": str(models), "MODEL": FALLBACK, "DATA_DIR": str(tmp_path / "data"), **environment}
    return subprocess.run(
        [sys.executable, "-m", "app", "tune", *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.process
def test_command_prints_a_table_and_makes_the_fastest_the_default(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures(24)):
        (folder / f"{number}.jpg").write_bytes(picture)
    (folder / "drawing.png").write_bytes(encoded(scene(), "PNG"))
    (folder / "notes.txt").write_text("not an image")
    done = tune(models, tmp_path, "--images", str(folder), "--use", "--agreement", "90")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{FALLBACK}: measuring with 26 images on ")
    assert lines[1].split() == ["runtime", "precision", "ms", "per", "image", "same", "label", "as", "fp32"]
    assert len(lines) == 2 + len(VARIANTS) + 1
    name = lines[-1].removesuffix(" is the default model now: restart the service.")
    assert find_default(models, FALLBACK, "auto")[0].name == name


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {}, "The service has stored 0 images, and at least 20 are needed: add --images FOLDER"),
        (["--images", "nowhere"], {}, "nowhere has 0 images, and at least 20 are needed"),
        ([], {"STORAGE_URL": "s3://bucket/images"}, "The images are stored in STORAGE_URL: add --images FOLDER"),
        (["--use"], {"MODEL_PRECISION": "fp32"}, "MODEL_PRECISION is fp32, which takes precedence over a choice"),
        (["--agreement", "120"], {}, "argument --agreement: 120 is not a percentage"),
    ],
)
def test_error_is_one_line(
    arguments: list[str], environment: dict[str, str], message: str, models: Path, tmp_path: Path
) -> None:
    done = tune(models, tmp_path, *arguments, **environment)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
