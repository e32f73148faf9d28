"""Keras models: loads them, and adapts them to what the service runs.

That is a network that maps float32 (1, size, size, 3) to float32 (1, labels), computed in float32.
"""

import json
import re
from collections import deque
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from app.classifier.activations import Activation
from app.classifier.export.keras.networks import (
    IMAGE_RANK,
    OwnOptions,
    SourceNetwork,
    as_pixels,
    binary_activation,
    choose_output,
    guess_activation,
    input_table,
    one_line,
    require_one_input,
    require_raw_pixels,
    shape_of,
    two_scores,
    unknown_class,
)
from app.classifier.export.verification import reference_tensors
from app.classifier.manifest import InputTable
from app.domain import StartupError

SUFFIXES: Final = (".keras", ".h5", ".hdf5")
COLOURS: Final = 3
"""Channels of images, also of those that are scaled or augmented within the network."""
OTHER_PRECISIONS: Final = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
"""Of training; weights of the mixed ones are float32."""
_ACTIVATED: Final = ("softmax", "sigmoid")
_SCORE_PRESERVING: Final = (layers.Dropout, layers.Flatten, layers.Identity, layers.Reshape)
"""Layers that do not change scores."""


def load_keras(path: Path) -> keras.Model:
    """A functional model from a ``.keras`` or ``.h5`` file. Raises StartupError; code in the file is not run."""
    if path.suffix not in SUFFIXES:
        raise StartupError(f"{path} must be a .keras file, an .h5 file, or the folder of a SavedModel.")
    if path.stat().st_size == 0:
        raise StartupError(f"{path} is empty.")
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:
        # Keras, and the layers in the file, raise errors of any type.
        raise StartupError(f"Keras cannot load {path}: {_reason(path, error)}") from error
    if not getattr(model, "inputs", None):
        raise StartupError(f"{path} has no input of a known shape: start the model with keras.Input and save it again.")
    return model


def _reason(path: Path, error: Exception) -> str:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", unknown_class(error)).lower()
    # Operations with the names of layers, such as Multiply, are taken for those.
    is_operation = hasattr(keras.ops, name) if name else "passed as positional arguments" in str(error)
    if path.suffix != ".keras" and is_operation:
        return "it uses operations, which Keras does not read from .h5 files: save it as a .keras file."
    return one_line(error)


def of_own_keras(model: keras.Model, own: OwnOptions) -> SourceNetwork:
    """A user's own Keras model. Raises StartupError if it cannot be adapted."""
    require_one_input(image.name for image in model.inputs)
    image = model.inputs[0]
    if not keras.backend.is_float_dtype(image.dtype):
        require_raw_pixels(image.dtype, own)
    return of_keras(model, input_table(image.shape, own), own.output, own.activation)


def of_keras(
    model: keras.Model, table: InputTable, output: str = "", activation: Activation | None = None
) -> SourceNetwork:
    """A Keras model with one image as its input. Raises StartupError for other shapes of its output.

    ``output``: name of the output, if there are several; ``activation``: None to determine it.
    """
    # A Sequential has no names of outputs.
    model = in_float32(keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model)
    shapes = {name: shape_of(one.shape) for name, one in zip(_output_names(model), model.outputs, strict=True)}
    scores = model.outputs[list(shapes).index(choose_output(shapes, output))]
    network = keras.Model(model.inputs[0], {"scores": scores, **_features(scores)})
    is_binary = int(scores.shape[1]) == 1
    if is_binary or not _matches_input(model.inputs[0], table):
        image = keras.Input((table.size, table.size, 3))
        network = keras.Model(image, network(as_pixels(image, model.inputs[0].dtype)))
    found = activation or _activation(scores) or guess_activation(_scores(network, reference_tensors(table)))
    if is_binary:
        outputs = dict(network(network.inputs[0]))
        network = keras.Model(
            network.inputs[0], {**outputs, "scores": two_scores(outputs["scores"], binary_activation(found))}
        )
    return SourceNetwork(
        table,
        2 if is_binary else int(scores.shape[1]),
        lambda tensors: _scores(network, tensors),
        lambda: tf.lite.TFLiteConverter.from_keras_model(network),
        "none" if is_binary else found,
    )


def _output_names(model: keras.Model) -> list[str]:
    """The keys of a dictionary, or else the names of layers, which may be the same several times."""
    if isinstance(model.output, dict):
        return sorted(model.output)
    names = list(model.output_names)
    return names if len(set(names)) == len(names) else [f"{name}_{n}" for n, name in enumerate(names)]


def _scores(network: keras.Model, tensors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([np.asarray(network(one[np.newaxis], training=False)["scores"]) for one in tensors])


def in_float32(model: Any) -> Any:
    """A model of Keras 2 or 3 with all layers in float32: LiteRT computes in no other precision."""
    config = json.dumps(model.get_config(), default=keras.saving.serialize_keras_object)
    changed = json.dumps(_replace_precision(json.loads(config)))
    if json.loads(changed) == json.loads(config):
        return model
    converted = type(model).from_config(json.loads(changed))
    converted.set_weights(model.get_weights())
    return converted


def _replace_precision(config: Any) -> Any:
    if isinstance(config, list):
        return [_replace_precision(one) for one in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") in {"DTypePolicy", "Policy"} and config["config"]["name"] in OTHER_PRECISIONS:
        return {**config, "config": {**config["config"], "name": "float32"}}
    return {
        name: "float32" if name == "dtype" and value in OTHER_PRECISIONS else _replace_precision(value)
        for name, value in config.items()
    }


def _matches_input(image: Any, table: InputTable) -> bool:
    return image.dtype == "float32" and tuple(image.shape[1:]) == (table.size, table.size, 3)


def _activation(output: Any) -> Activation | None:
    """The activation still to apply after the last layer; None if unknown."""
    while True:
        operation, node, position = output._keras_history  # noqa: SLF001 - there is no public way back from a tensor
        if isinstance(operation, keras.Model):
            output = operation.outputs[position]
        elif isinstance(operation, layers.Concatenate):
            heads = {_activation(head) for head in operation._inbound_nodes[node].input_tensors}  # noqa: SLF001
            return heads.pop() if len(heads) == 1 else None
        elif isinstance(operation, _SCORE_PRESERVING):
            output = operation._inbound_nodes[node].input_tensors[0]  # noqa: SLF001
        else:
            break
    names = {type(operation).__name__.lower(), getattr(getattr(operation, "activation", None), "__name__", "")}
    if names.intersection(_ACTIVATED):
        return "none"
    return "softmax" if "linear" in names else None


def _features(output: Any) -> dict[str, Any]:
    """The last feature map before an output, if there is one."""
    waiting, seen = deque([output]), set()
    while waiting:
        tensor = waiting.popleft()
        operation, node, _ = tensor._keras_history  # noqa: SLF001
        if id(tensor) in seen or isinstance(operation, layers.InputLayer):
            continue
        seen.add(id(tensor))
        if len(tensor.shape) == IMAGE_RANK and tensor.shape[1] != 1 and tensor.shape[3] != COLOURS:
            return {"features": tensor}
        waiting.extend(operation._inbound_nodes[node].input_tensors)  # noqa: SLF001
    return {}
