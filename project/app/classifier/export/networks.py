"""Networks that can be exported: Keras applications, EfficientNet-Lite0, and users' own models.

Each maps float32 (batch, size, size, 3), normalized as its ``input`` says, to (batch, classes). Networks with a last
feature map also return it as ``features``, for heat maps.
"""

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.classifier.manifest import InputTable
from app.domain import StartupError

SHORT_SIDE_RATIO: Final = 256 / 224
RANDOM: Final = "random"
IMAGENET: Final = "imagenet"
SEED: Final = 8004
ANY_SIZE: Final = 224
_IMAGE_RANK: Final = 4

PREPROCESSINGS: Final[dict[str, dict[str, Any]]] = {
    "tf": {"scale": 1 / 127.5, "offset": -1.0},
    "torch": {
        "scale": tuple(1 / 255 / deviation for deviation in (0.229, 0.224, 0.225)),
        "offset": tuple(
            -mean / deviation for mean, deviation in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
        ),
    },
    "caffe": {"channels": "bgr", "scale": 1.0, "offset": (-103.939, -116.779, -123.68)},
    "unit": {"scale": 1 / 255, "offset": 0.0},
    "raw": {"scale": 1.0, "offset": 0.0},
}
"""Normalization of pixels in 0..255, by the names in ``keras.applications`` (``imagenet_utils``)."""


@dataclass(frozen=True, slots=True)
class SourceNetwork:
    """A network with its weights, ready to be converted."""

    input: InputTable
    classes: int
    scores: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """Scores, float32 (batch, classes), for tensors (batch, size, size, 3)."""
    converter: Callable[[], Any]
    """Creates a ``tf.lite.TFLiteConverter``."""
    logits: bool = False
    """Whether the scores still need a softmax."""


def of_keras(model: keras.Model, table: InputTable) -> SourceNetwork:
    """A Keras model with one input, and one output of shape (batch, classes). Raises StartupError for other shapes."""
    shape = model.output_shape
    if isinstance(shape, list | dict) or len(shape) != 2 or shape[1] is None:  # noqa: PLR2004 - batch and classes
        raise StartupError(f"The model's output is {shape}; it must have one output of shape (batch, labels).")
    # Not `output`, which an uncalled Sequential does not have.
    outputs = {"scores": model.outputs[0], **_features(model)}
    exported = keras.Model(model.inputs[0], outputs)

    def scores(tensors: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([np.asarray(exported(one[np.newaxis], training=False)["scores"]) for one in tensors])

    return SourceNetwork(
        table,
        int(shape[1]),
        scores,
        lambda: tf.lite.TFLiteConverter.from_keras_model(exported),
        logits=not _is_distribution(scores(reference_tensors(table))),
    )


def of_saved_model(folder: Path, preprocessing: str) -> SourceNetwork:
    """A TensorFlow SavedModel with a signature ``serving_default``: one image input, one output of labels."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    ((name, tensor_spec),) = signature.structured_input_signature[1].items()
    table = input_table(tensor_spec.shape, preprocessing)
    output_names = [
        key
        for key, output in signature.structured_outputs.items()
        if len(output.shape) == 2  # noqa: PLR2004
    ]
    if len(output_names) != 1:
        raise StartupError(
            f"The outputs of {folder} are {signature.structured_outputs}; it must have one output of labels."
        )

    def scores(tensors: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate(
            [signature(**{name: tf.constant(one[np.newaxis])})[output_names[0]].numpy() for one in tensors]
        )

    reference_scores = scores(reference_tensors(table))
    return SourceNetwork(
        table,
        reference_scores.shape[1],
        scores,
        lambda: tf.lite.TFLiteConverter.from_saved_model(str(folder)),
        logits=not _is_distribution(reference_scores),
    )


def keras_application(name: str, weights: str | Path) -> tuple[keras.Model, InputTable]:
    """A ``keras.applications`` model with ``weights``: ``imagenet`` (downloaded by Keras), ``random``, or a file."""
    build = getattr(keras.applications, name)
    keras.utils.set_random_seed(SEED)
    try:
        model = build(weights=None if weights == RANDOM else str(weights))
        if model.input_shape[1] is None:
            # It accepts any size, but a LiteRT file has a fixed one. The weights are the same.
            fixed = build(weights=None, input_shape=(ANY_SIZE, ANY_SIZE, 3))
            fixed.set_weights(model.get_weights())
            model = fixed
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise StartupError(f"{name} cannot be built with the weights {weights}: {reason}") from error
    except Exception as error:
        # Keras raises a plain Exception if a download fails.
        if type(error) is not Exception:
            raise
        raise StartupError(
            f"Keras cannot download the weights of {name}: download them elsewhere and add --weights FILE. ({error})"
        ) from error
    preprocessing = preprocessing_of(sys.modules[build.__module__].preprocess_input)
    return model, InputTable(**_geometry(model.input_shape), **preprocessing)


def is_keras_application(name: str) -> bool:
    """Whether ``keras.applications`` has a model of this name."""
    return name[:1].isupper() and callable(getattr(keras.applications, name, None))


def registry_name(application: str) -> str:
    """``MobileNetV3Large`` → ``mobilenet_v3_large``, ``EfficientNetB0`` → ``efficientnet_b0``."""
    parts = re.sub(r"(?<=[a-z0-9])(V\d|B\d|XLarge|Large|Small|Tiny|Base|Mobile|[SML]$)", r"_\1", application)
    return parts.lower()


def input_table(shape: Any, preprocessing: str) -> InputTable:
    """The input of a network of shape (batch, size, size, 3), by the name of its preprocessing."""
    return InputTable(**_geometry(shape), **PREPROCESSINGS[preprocessing])


def preprocessing_of(preprocess: Callable[[Any], Any]) -> dict[str, Any]:
    """The effect of a ``preprocess_input``, found by calling it: all of Keras' are affine, and some swap channels."""
    black = np.asarray(preprocess(np.zeros((1, 1, 3), np.float32)), np.float64).ravel()
    steps = [np.asarray(preprocess(255 * np.eye(3, dtype=np.float32)[i][None, None])).ravel() - black for i in range(3)]
    bgr = bool(abs(steps[0][2]) > abs(steps[0][0]))
    scale = [float(step[2 - i if bgr else i]) / 255 for i, step in enumerate(steps)]
    if bgr:
        scale.reverse()
    return {
        "channels": "bgr" if bgr else "rgb",
        "scale": _one_or_three(scale),
        "offset": _one_or_three([float(value) for value in black]),
    }


def weights_digest(model: keras.Model) -> str:
    """SHA-256 of a model's weights, in hexadecimal, if they have no file."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def reference_tensors(table: InputTable, count: int = 4) -> NDArray[np.float32]:
    """Tensors for comparisons: smooth random images, float32 (count, size, size, 3), normalized."""
    coarse = np.random.default_rng(SEED).uniform(0, 255, (count, 7, 7, 3)).astype(np.float32)
    size = (table.size, table.size)
    pixels = np.asarray(keras.ops.image.resize(coarse, size, interpolation="bicubic")).clip(0, 255)
    return np.asarray(pixels * np.asarray(table.scale) + np.asarray(table.offset), np.float32)


def _geometry(shape: Any) -> dict[str, int]:
    sides = tuple(shape)[1:]
    if len(sides) != _IMAGE_RANK - 1 or sides[0] is None or sides[0] != sides[1] or sides[2] != 3:  # noqa: PLR2004
        raise StartupError(f"The model's input is {tuple(shape)}; it must be (batch, size, size, 3) with a fixed size.")
    return {"size": int(sides[0]), "short_side": round(sides[0] * SHORT_SIDE_RATIO)}


def _one_or_three(values: list[float]) -> float | tuple[float, float, float]:
    first, second, third = (float(f"{value:.7g}") for value in values)
    return first if first == second == third else (first, second, third)


def _features(model: keras.Model) -> dict[str, Any]:
    """The last feature map of a convolutional network, if it can be determined."""
    maps = [layer.output for layer in model.layers if _is_map(getattr(layer, "output", None))]
    return {"features": maps[-1]} if maps else {}


def _is_map(output: Any) -> bool:
    return hasattr(output, "shape") and len(output.shape) == _IMAGE_RANK and (output.shape[1] or 0) > 1


def _is_distribution(scores: NDArray[np.float32]) -> bool:
    return bool(scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3))
