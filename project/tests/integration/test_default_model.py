"""The default model: its weights are read and its file written without TensorFlow."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import onnxruntime
import openvino
import pytest
from ai_edge_litert.interpreter import Interpreter

from app.classifier.export.convolutional import BatchNorm, Convolution, ConvolutionalNetwork, Tensor, fold
from app.classifier.export.litert_file import litert_file
from app.classifier.export.mobilenet_v2 import read_mobilenet_v2
from app.classifier.export.onnx_file import onnx_file
from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model
from app.domain import StartupError
from app.images.preprocessing import to_tensor
from tests.pictures import jpeg

TOLERANCE = 1e-3
KERAS_SCORES = Path(__file__).with_name("keras_scores.py")
PROJECT = Path(__file__).parents[2]
RANDOM = np.random.default_rng(0)


def inputs() -> Tensor:
    """Several inputs: a picture, noise, and the ends of the range."""
    noise = RANDOM.uniform(-1, 1, (224, 224, 3)).astype(np.float32)
    plain = [np.full((224, 224, 3), value, np.float32) for value in (-1, 0, 1)]
    return np.stack([to_tensor(jpeg()), noise, *plain])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
def test_scores_equal_those_of_keras(
    name: str, all_models: Path, export_python: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    weights = request.getfixturevalue("mobilenet_weights") if name == "mobilenet_v2" else ""
    tensors = inputs()
    np.save(tmp_path / "inputs.npy", tensors)
    subprocess.run(
        [export_python, str(KERAS_SCORES), name, str(weights), str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    expected = np.load(tmp_path / "scores.npy")
    classifier = Classifier(read_model(all_models / name), threads=1)
    scores = np.stack([classifier.scores(tensor) for tensor in tensors])
    assert scores.shape == expected.shape == (5, 1000)
    assert expected.max() > 10 * TOLERANCE
    assert np.abs(scores - expected).max() < TOLERANCE / 10
    if name == "mobilenet_v2":
        for saved in ("weights.weights.h5", "model.h5"):
            found = read_mobilenet_v2(tmp_path / saved).scores(tensors[:2])
            assert np.abs(found - expected[:2]).max() < TOLERANCE / 10, f"{saved}, as Keras 3 and Keras 2 save weights"


Run = Callable[[ConvolutionalNetwork, Tensor], dict[str, Tensor]]


def small_network() -> ConvolutionalNetwork:
    """A network with all kinds of convolutions, on images whose sides are odd after the first one."""

    def random(*shape: int) -> Tensor:
        return RANDOM.normal(0, 0.5, shape).astype(np.float32)

    return ConvolutionalNetwork(
        26,
        [
            Convolution(random(3, 3, 3, 8), random(8), stride=2),
            Convolution(random(3, 3, 8, 1), random(8), depthwise=True),
            Convolution(random(1, 1, 8, 8), random(8), relu6=False, shortcut=0),
            Convolution(random(5, 5, 8, 1), random(8), stride=2, depthwise=True),
            Convolution(random(1, 1, 8, 16), random(16), relu6=False),
            Convolution(random(5, 5, 16, 1), random(16), depthwise=True),
            Convolution(random(1, 1, 16, 16), random(16), relu6=False, shortcut=4),
            Convolution(random(3, 3, 16, 1), random(16), stride=2, depthwise=True),
        ],
        random(16, 5),
        random(5),
    )


def embedding_of(network: ConvolutionalNetwork, image: Tensor) -> Tensor:
    """By NumPy: with as many labels as features, and logits that are the features."""
    features = network.features
    identity = replace(network, dense=np.eye(features, dtype=np.float32), bias=np.zeros(features, np.float32))
    logits: Tensor = np.log(identity.scores(image[np.newaxis])[0])
    logits -= logits.mean()
    return logits


def by_litert(network: ConvolutionalNetwork, image: Tensor) -> dict[str, Tensor]:
    interpreter = Interpreter(model_content=litert_file(network))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
    interpreter.invoke()
    return {one["name"]: interpreter.get_tensor(one["index"])[0] for one in interpreter.get_output_details()}


def by_onnx_runtime(network: ConvolutionalNetwork, image: Tensor) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(onnx_file(network), providers=["CPUExecutionProvider"])
    results = session.run(None, {"image": image[np.newaxis]})
    return {one.name: result[0] for one, result in zip(session.get_outputs(), results, strict=True)}


def by_openvino(network: ConvolutionalNetwork, image: Tensor) -> dict[str, Tensor]:
    core = openvino.Core()
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(litert_file(network))
        file.flush()
        compiled = core.compile_model(file.name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled([image[np.newaxis]])
    return {one.any_name: results[one][0] for one in compiled.outputs}


@pytest.mark.parametrize("run", [by_litert, by_onnx_runtime, by_openvino])
def test_every_runtime_returns_the_scores_and_the_embedding_of_a_written_network(run: Run) -> None:
    network = small_network()
    image = RANDOM.uniform(-1, 1, (26, 26, 3)).astype(np.float32)
    found = run(network, image)
    assert list(found) == ["scores", "embedding"]
    np.testing.assert_allclose(found["scores"], network.scores(image[np.newaxis])[0], atol=1e-5)
    centred = found["embedding"] - found["embedding"].mean()
    np.testing.assert_allclose(centred, embedding_of(network, image), atol=1e-3)


def test_batch_norm_is_folded_into_the_convolution_before_it() -> None:
    weights = RANDOM.normal(size=(3, 3, 4, 6)).astype(np.float32)
    gamma, beta, mean = (RANDOM.normal(size=6).astype(np.float32) for _ in range(3))
    norm = BatchNorm(gamma, beta, mean, variance=RANDOM.uniform(0.1, 2, 6).astype(np.float32))
    image = RANDOM.normal(size=(8, 8, 4)).astype(np.float32)
    plain = Convolution(weights, np.zeros(6, np.float32), relu6=False)(image)
    expected = (plain - norm.mean) / np.sqrt(norm.variance + 1e-3) * norm.gamma + norm.beta
    folded, bias = fold(weights, norm, depthwise=False)
    np.testing.assert_allclose(Convolution(folded, bias, relu6=False)(image), expected, atol=1e-4)


def copy_without(
    source: Path, target: Path, *, last: int = 0, instead: dict[str, tuple[int, ...]] | None = None
) -> None:
    """Copy a file of weights without its last layers, or with other shapes."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        layers = [name for name in old.attrs["layer_names"] if len(old[name].attrs["weight_names"])]
        kept = layers[: len(layers) - last]
        new.attrs["layer_names"] = kept
        for layer in kept:
            names = list(old[layer].attrs["weight_names"])
            new.create_group(layer).attrs["weight_names"] = names
            for name in names:
                shape = (instead or {}).get(layer)
                new[layer][name] = np.zeros(shape, np.float32) if shape else np.asarray(old[layer][name])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "file signature not found"),
        ("truncated", "truncated file"),
        ("damaged", "does not contain the weights"),
        ("empty", "layer_names"),
        ("fewer", "it has fewer layers"),
        ("narrower", r"stem 0 has the shapes \(3, 3, 3, 16\)"),
        ("other labels", r"the last layer has the shapes \(1280, 10\)"),
    ],
)
def test_other_files_are_refused_in_one_line(kind: str, reason: str, mobilenet_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    if kind == "text":
        path.write_text("no weights")
    elif kind == "truncated":
        path.write_bytes(mobilenet_weights.read_bytes()[:100_000])
    elif kind == "damaged":
        damaged = bytearray(mobilenet_weights.read_bytes())
        damaged[2000:40_000] = bytes(38_000)
        path.write_bytes(damaged)
    elif kind == "empty":
        h5py.File(path, "w").close()
    elif kind == "fewer":
        copy_without(mobilenet_weights, path, last=2)
    elif kind == "narrower":
        copy_without(mobilenet_weights, path, instead={"Conv1": (3, 3, 3, 16)})
    else:
        copy_without(mobilenet_weights, path)
        with h5py.File(path, "a") as file:
            names = list(file["predictions"].attrs["weight_names"])
            for name, shape in zip(names, [(1280, 10), (10,)], strict=True):
                del file["predictions"][name]
                file["predictions"][name] = np.zeros(shape, np.float32)
    with pytest.raises(StartupError, match=reason) as raised:
        read_mobilenet_v2(path)
    assert "\n" not in raised.value.message
    assert raised.value.message.startswith(f"{path} does not contain the weights of MobileNetV2: ")


def test_file_with_more_layers_is_refused(mobilenet_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    copy_without(mobilenet_weights, path)
    with h5py.File(path, "a") as file:
        file.create_group("another").attrs["weight_names"] = ["kernel"]
        file["another"]["kernel"] = np.zeros((1000, 10), np.float32)
        file.attrs["layer_names"] = [*file.attrs["layer_names"], "another"]
    with pytest.raises(StartupError, match="it has more layers"):
        read_mobilenet_v2(path)


def export(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run ``export-model`` in the environment of the service, which has no TensorFlow."""
    return subprocess.run(
        [sys.executable, "-m", "app", "export-model", *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "MODELS_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
    )


def test_default_model_is_exported_without_tensorflow(tmp_path: Path, all_models: Path) -> None:
    done = export(tmp_path, MODEL="efficientnet_lite0")
    assert done.returncode == 0, done.stderr
    assert "Scores match the original model within" in done.stderr
    exported, expected = read_model(tmp_path / "efficientnet_lite0"), read_model(all_models / "efficientnet_lite0")
    assert exported.version == expected.version == exported.manifest.version, "the export is reproducible"


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--squash", "--size", "32"], {}, "--size, --squash: only for a SOURCE."),
        ([], {"MODEL": "resnet50"}, "MODEL is resnet50, which has no default source"),
        ([], {"MODEL": "efficientnet_lite0", "MODEL_PRECISION": "int8"}, "set CALIBRATION_IMAGES"),
        (["ResNet50"], {}, "Exporting ResNet50 needs "),
    ],
)
def test_export_error_is_reported_in_one_line(
    arguments: list[str], environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    done = export(tmp_path, *arguments, **environment)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
