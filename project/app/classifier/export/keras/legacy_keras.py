"""Models that Keras 2 saved (TensorFlow up to 2.15): tf-keras loads them, which Keras 3 mostly cannot."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import tensorflow as tf

from app.classifier.export.keras.functions import of_function
from app.classifier.export.keras.keras_models import in_float32
from app.classifier.export.keras.networks import OwnOptions, SourceNetwork, one_line, require_one_input, shape_of
from app.domain import StartupError

LEGACY: Final = "2."


def is_legacy(path: Path) -> bool:
    """Whether Keras 2 saved a file."""
    return str(_saved_with(path)).startswith(LEGACY)


def of_legacy_keras(path: Path, own: OwnOptions) -> SourceNetwork:
    """A model with one image as its input. Raises StartupError for others; code in the file is not run."""
    import tf_keras

    try:
        if path.suffix != ".keras" and any(_lambda_layers(_config_of_h5(path))):
            raise ValueError("it contains a Lambda layer, which is code.")
        model = in_float32(tf_keras.models.load_model(path, compile=False, safe_mode=True))
    except Exception as error:
        # tf-keras, and the layers in the file, raise errors of any type.
        raise StartupError(f"Keras 2 cannot load {path}: {one_line(error)}") from error
    require_one_input(model.input_names)
    shapes = {name: shape_of(output.shape) for name, output in zip(model.output_names, model.outputs, strict=True)}

    def call(pixels: Any) -> dict[str, Any]:
        return dict(zip(model.output_names, tf.nest.flatten(model(pixels, training=False)), strict=True))

    image = model.inputs[0]
    return of_function(call, tf.TensorSpec(image.shape, image.dtype), shapes, own, model)


def _saved_with(path: Path) -> str:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            return str(file.attrs["keras_version"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error):
        # Keras 3 reports what is wrong with the file.
        return ""


def _config_of_h5(path: Path) -> Any:
    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])


def _lambda_layers(config: Any) -> Iterator[Any]:
    if isinstance(config, dict):
        if config.get("class_name") == "Lambda":
            yield config
        for value in config.values():
            yield from _lambda_layers(value)
    elif isinstance(config, list):
        for value in config:
            yield from _lambda_layers(value)
