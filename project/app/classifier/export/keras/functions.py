"""Adapts TensorFlow functions (SavedModels, Keras 2 models) to the service's input and output."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.classifier.export.keras.networks import (
    OwnOptions,
    SourceNetwork,
    as_pixels,
    binary_activation,
    choose_output,
    guess_activation,
    input_table,
    one_line,
    require_raw_pixels,
    two_scores,
)
from app.classifier.export.verification import reference_tensors
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

    def to_float32(pixels: Any) -> Any:
        return tf.cast(call(as_pixels(pixels, image.dtype.name))[output], tf.float32)

    network: Callable[[Any], Any] = to_float32
    try:
        activation = own.activation or guess_activation(_run(network, reference_tensors(table)))
    except Exception as error:
        # The network's own operations raise errors of any type.
        raise StartupError(f"The model cannot be run: {one_line(error)}") from error
    labels = int(shapes[output][1] or 0)
    if labels == 1:
        final = binary_activation(activation)
        labels, network, activation = 2, lambda pixels: two_scores(to_float32(pixels), final), "none"

    def converter() -> Any:
        signature = [tf.TensorSpec((1, table.size, table.size, 3), tf.float32)]
        function = tf.function(lambda pixels: {"scores": network(pixels)}, input_signature=signature, autograph=False)
        return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], owner)

    return SourceNetwork(table, labels, lambda tensors: _run(network, tensors), converter, activation)


def _run(network: Callable[[Any], Any], tensors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([network(tf.constant(one[np.newaxis])) for one in tensors])
