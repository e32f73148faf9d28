"""Networks that are exported from Keras: its applications, and users' own models.

Each maps float32 (batch, size, size, 3), normalized as its ``input`` says, to (batch, classes). Networks with a last
feature map also return it as ``features``, for heat maps.
"""

import hashlib
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from app.classifier.activations import Activation
from app.classifier.export.verification import SEED
from app.classifier.manifest import MAX_SIZE, InputTable
from app.domain import StartupError
from app.observability.log_events import EXPORT_SIZE

log = logging.getLogger(__name__)

SHORT_SIDE_RATIO: Final = 256 / 224
RANDOM: Final = "random"
IMAGENET: Final = "imagenet"
ANY_SIZE: Final = 224
"""Side in pixels for networks that accept any size."""
IMAGE_RANK: Final = 4
ROUNDING: Final = 1e-3

_UNKNOWN: Final = re.compile(r"(?:Could not locate (?:class|function)|Unknown (?:layer|\w+ function):) '?(\w+)")

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
    activation: Activation
    """What turns the scores into probabilities."""


@dataclass(frozen=True, slots=True)
class OwnOptions:
    """Options for a user's own model. Empty, 0 and None: to be determined."""

    preprocessing: str
    output: str = ""
    size: int = 0
    activation: Activation | None = None


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
    return model, InputTable(**geometry(model.input_shape[1]), **preprocessing)


def is_keras_application(name: str) -> bool:
    """Whether ``keras.applications`` has a model of this name."""
    return name[:1].isupper() and callable(getattr(keras.applications, name, None))


def registry_name(application: str) -> str:
    """``MobileNetV3Large`` → ``mobilenet_v3_large``, ``EfficientNetB0`` → ``efficientnet_b0``."""
    parts = re.sub(r"(?<=[a-z0-9])(V\d|B\d|XLarge|Large|Small|Tiny|Base|Mobile|[SML]$)", r"_\1", application)
    return parts.lower()


def input_table(shape: Any, own: OwnOptions) -> InputTable:
    """The input of a user's network of shape (batch, size, size, 3); a size that it leaves open is fixed.

    Raises StartupError for other shapes.
    """
    shape = shape_of(shape)
    described = f"The model's input is {shape}"
    if len(shape) != IMAGE_RANK or shape[3] not in {3, None}:
        raise StartupError(f"{described}; it must be (batch, size, size, 3).")
    batch, *sides, _ = shape
    if batch not in {None, 1}:
        raise StartupError(f"{described}; it must accept batches of any size, or of one image.")
    fixed = {side for side in sides if side is not None}
    if len(fixed) > 1:
        raise StartupError(f"{described}; it must be square.")
    size = int(fixed.pop()) if fixed else own.size or ANY_SIZE
    if own.size not in {0, size}:
        raise StartupError(f"{described}: leave out --size, or set it to {size}.")
    if not 0 < size <= MAX_SIZE:
        raise StartupError(f"The size is {size} pixels; it must be 1 to {MAX_SIZE}.")
    if None in sides:
        log.info(EXPORT_SIZE, size, size)
    return InputTable(**geometry(size), **PREPROCESSINGS[own.preprocessing])


def require_raw_pixels(dtype: str, own: OwnOptions) -> None:
    """Raise StartupError if a network that takes integers would get anything but pixels of 0..255."""
    if own.preprocessing != "raw":
        raise StartupError(f"The model's input is {dtype}, that is pixels of 0 to 255: add --preprocessing raw.")


def require_one_input(inputs: Iterable[str]) -> None:
    """Raise StartupError unless the image is a model's only input."""
    names = list(inputs)
    if len(names) != 1:
        described = f" ({', '.join(names)})" if names else ""
        raise StartupError(f"The model has {len(names)} inputs{described}; it must have one, the image.")


def shape_of(shape: Any) -> tuple[int | None, ...]:
    """A shape of Keras or TensorFlow; empty if even the number of dimensions is unknown."""
    return () if getattr(shape, "rank", 0) is None else tuple(shape)


def as_pixels(image: Any, dtype: str) -> Any:
    """The service's float32 image as the input of a network with another type: integers are rounded."""
    return ops.cast(image if keras.backend.is_float_dtype(dtype) else ops.round(ops.clip(image, 0, 255)), dtype)


def two_scores(score: Any, activation: Activation) -> Any:
    """The scores of two labels from one, which Keras' tutorials train as the probability of the second label."""
    second = ops.sigmoid(score) if activation == "sigmoid" else score
    return ops.concatenate([1 - second, second], axis=-1)


def choose_output(shapes: Mapping[str, tuple[int | None, ...]], name: str) -> str:
    """The name of the output with scores. Raises StartupError unless it has the shape (batch, labels)."""
    described = ", ".join(f"{one} {shape}" for one, shape in shapes.items())
    if name and name not in shapes:
        raise StartupError(f"The model has no output {name}; it has {described}.")
    if not name and len(shapes) > 1:
        raise StartupError(f"The model has several outputs: {described}. Name one with --output.")
    chosen = name or next(iter(shapes))
    if len(shapes[chosen]) != 2 or shapes[chosen][1] is None:  # noqa: PLR2004 - batch and labels
        raise StartupError(f"The model's output is {shapes[chosen]}; it must be (batch, labels).")
    return chosen


def guess_activation(scores: NDArray[np.float32]) -> Activation:
    """Guesses the activation of a network whose last layer is unknown."""
    return "none" if scores.min() >= 0 and scores.max() <= 1 + ROUNDING else "softmax"


def binary_activation(activation: Activation) -> Activation:
    """The activation of a network with a single score for two labels: softmax would always give 1."""
    return "sigmoid" if activation == "softmax" else activation


def one_line(error: Exception) -> str:
    """The reason in an error's message, without the dumps that Keras and TensorFlow append."""
    text = str(error)
    if name := unknown_class(error):
        return f"it uses {name}, which is not part of Keras: replace it, or export the model as a SavedModel."
    if "Lambda layer" in text.replace("`", ""):
        return "it contains a Lambda layer, which is code: replace it, or export the model as a SavedModel."
    if "No model config found" in text or "No model found in config file" in text:
        return "it contains only weights: save the whole model with model.save()."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # TensorFlow puts the reason last if the error was raised in a layer, Keras second.
    position = -1 if lines[0].startswith("in user code") else int(lines[0].startswith("Exception encountered"))
    return lines[min(position, len(lines) - 1)]


def unknown_class(error: Exception) -> str:
    """The name of a layer or function that Keras does not know; empty if that was not the error."""
    match = _UNKNOWN.search(str(error))
    return match[1] if match else ""


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


def geometry(size: int) -> dict[str, int]:
    """Input size and the usual short side before cropping, in pixels."""
    return {"size": size, "short_side": round(size * SHORT_SIDE_RATIO)}


def _one_or_three(values: list[float]) -> float | tuple[float, float, float]:
    first, second, third = (float(f"{value:.7g}") for value in values)
    return first if first == second == third else (first, second, third)
