"""TensorFlow functions of an image: adapts them to what the service runs. SavedModels and Keras 2 models are such."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.classifier.activations import Activation
from app.classifier.export.networks import (
    OwnOptions,
    SourceNetwork,
    binary_activation,
    choose_output,
    guess_activation,
    input_table,
    one_line,
    reference_tensors,
    require_raw_pixels,
)
from app.domain import StartupError

Call = Callable[[Any], Mapping[str, Any]]


def of_function(
    call: Call, image: tf.TensorSpec, shapes: Mapping[str, tuple[int | None, ...]], own: OwnOptions, owner: Any
) -> SourceNetwork:
    """A network as a function of an image tensor. Raises StartupError if it cannot be adapted.

    ``call`` returns the outputs by name, of these ``shapes``; ``owner``: the object whose variables it uses.
    """
    if image.dtype.is_integer:
        require_raw_pixels(image.dtype.name, own)
    elif not image.dtype.is_floating:
        raise StartupError(f"The model's input is {image.dtype.name}; it must be an image of numbers.")
    table = input_table(image.shape, own)
    output = choose_output(shapes, own.output)

    def floats(pixels: Any) -> Any:
        if image.dtype.is_integer:
            pixels = tf.round(tf.clip_by_value(pixels, 0, 255))
        return tf.cast(call(tf.cast(pixels, image.dtype))[output], tf.float32)

    network: Callable[[Any], Any] = floats
    try:
        activation = own.activation or guess_activation(_run(network, reference_tensors(table)))
    except Exception as error:
        # The network's own operations raise errors of any type.
        raise StartupError(f"The model cannot be run: {one_line(error)}") from error
    labels = int(shapes[output][1] or 0)
    if labels == 1:
        labels, network, activation = 2, _of_both(network, binary_activation(activation)), "none"

    def converter() -> Any:
        signature = [tf.TensorSpec((1, table.size, table.size, 3), tf.float32)]
        function = tf.function(lambda pixels: {"scores": network(pixels)}, input_signature=signature, autograph=False)
        return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], owner)

    return SourceNetwork(table, labels, lambda tensors: _run(network, tensors), converter, activation)


def _run(network: Callable[[Any], Any], tensors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([network(tf.constant(one[np.newaxis])) for one in tensors])


def _of_both(network: Callable[[Any], Any], activation: Activation) -> Callable[[Any], Any]:
    """The scores of two labels from one, which Keras' tutorials train as the probability of the second label."""

    def both(pixels: Any) -> Any:
        second = tf.sigmoid(network(pixels)) if activation == "sigmoid" else network(pixels)
        return tf.concat([1 - second, second], axis=-1)

    return both
