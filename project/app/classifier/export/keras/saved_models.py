"""TensorFlow SavedModels, by their signature ``serving_default``."""

from pathlib import Path
from typing import Final

import tensorflow as tf

from app.classifier.export.keras.functions import of_function
from app.classifier.export.keras.networks import OwnOptions, SourceNetwork, one_line, require_one_input, shape_of
from app.domain import StartupError

SIGNATURE: Final = "serving_default"
FILES: Final = ("saved_model.pb", "saved_model.pbtxt")


def of_saved_model(folder: Path, own: OwnOptions) -> SourceNetwork:
    """A SavedModel with one image as its input. Raises StartupError for others."""
    if not any((folder / name).is_file() for name in FILES):
        raise StartupError(f"{folder} is not a SavedModel: it has no {FILES[0]}.")
    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:
        # TensorFlow raises errors of any type.
        raise StartupError(f"TensorFlow cannot load {folder}: {one_line(error)}") from error
    if SIGNATURE not in loaded.signatures:
        found = ", ".join(loaded.signatures) or "none"
        raise StartupError(f"{folder} has no signature {SIGNATURE}, but {found}: save it with model.export().")
    signature = loaded.signatures[SIGNATURE]
    inputs = signature.structured_input_signature[1]
    require_one_input(inputs)
    ((name, image),) = inputs.items()
    shapes = {key: shape_of(output.shape) for key, output in sorted(signature.structured_outputs.items())}
    return of_function(lambda pixels: signature(**{name: pixels}), image, shapes, own, loaded)
