"""Converts Keras models and SavedModels to LiteRT, and LiteRT files to ONNX."""

import contextlib
import io
import re
import tempfile
import warnings
from pathlib import Path

import tf2onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from app.classifier.activations import ACTIVATIONS
from app.classifier.export.keras.networks import SourceNetwork, one_line
from app.classifier.export.onnx_file import OPSET
from app.classifier.export.verification import litert_scores, reference_tensors, require_equal_scores
from app.domain import StartupError


def to_litert(network: SourceNetwork) -> bytes:
    """A float32 LiteRT file. Raises StartupError if its scores differ from the original's."""
    lite = _convert(network)
    tensors, activate = reference_tensors(network.input), ACTIVATIONS[network.activation]
    converted = litert_scores(lite, tensors, network.classes)
    require_equal_scores(activate(converted), activate(network.scores(tensors)))
    return lite


def to_onnx(lite: bytes) -> bytes:
    """A LiteRT file as float32 ONNX, ready to be quantized."""
    with tempfile.TemporaryDirectory(prefix="onnx-") as name:
        folder = Path(name)
        (folder / "network.tflite").write_bytes(lite)
        with warnings.catch_warnings():
            # tf2onnx uses an interpreter that TensorFlow is about to move.
            warnings.simplefilter("ignore")
            tf2onnx.convert.from_tflite(
                str(folder / "network.tflite"), opset=OPSET, output_path=str(folder / "network.onnx")
            )
        quant_pre_process(folder / "network.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        return (folder / "prepared.onnx").read_bytes()


def _convert(network: SourceNetwork) -> bytes:
    # The converter prints every variable to standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            lite: bytes = network.converter().convert()
        except Exception as error:
            # Layers, TensorFlow and the converter raise errors of any type.
            raise StartupError(f"The model cannot be converted to LiteRT: {_reason(error)}") from error
    return lite


def _reason(error: Exception) -> str:
    """The reason in a converter's report: operations that LiteRT does not have, or else its first line."""
    text = str(error)
    lacking = dict.fromkeys(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", text))
    if lacking:
        return f"LiteRT has no {', '.join(lacking)}."
    refused = dict.fromkeys(re.findall(r"(?:operation |error: )'(?:tfl?\.)?(\w+)'", text))
    if refused or text.startswith("<unknown>"):
        return f"its converter does not support {', '.join(refused) or 'one of its operations'} as it is used here."
    return one_line(error)
