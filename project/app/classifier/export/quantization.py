"""Converts a float32 ONNX file to int8, calibrated with the user's images.

Weights become signed int8 per channel, activations unsigned int8 per tensor (QDQ; Jacob et al., 2018), the form that
both ONNX Runtime and OpenVINO run with int8 instructions (record 13).
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

log = logging.getLogger(__name__)

KEPT_FLOAT: Final = {"Softmax"}
"""With 256 steps, every probability below 1/256 would become zero."""
PASSED_ON: Final = KEPT_FLOAT | {"Flatten", "Identity", "Reshape", "Squeeze", "Transpose"}
"""Operations that reshape logits or turn them into scores."""
AGREEMENT: Final = 0.9
"""Share of calibration images whose int8 label should equal that of fp32; below it, a warning is logged."""

Tensor = NDArray[np.float32]


def to_int8(network: bytes, calibration: Sequence[Tensor], classes: int) -> bytes:
    """An int8 ONNX file with float32 input and outputs, calibrated with ``calibration`` tensors.

    ``network``: a float32 ONNX file with an output of shape (1, classes), and batch norms folded. Ranges are averages
    over the images' own, so that one unusual image does not coarsen them all.
    """
    with tempfile.TemporaryDirectory(prefix="int8-") as name:
        folder = Path(name)
        model = onnx.load_from_string(network)
        # Or the quantizer advises to fold batch norms.
        add_pre_process_metadata(model)
        onnx.save(model, folder / "float.onnx")
        quantize_static(
            folder / "float.onnx",
            folder / "int8.onnx",
            _Images(model.graph.input[0].name, calibration),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=sorted({node.op_type for node in model.graph.node} - KEPT_FLOAT),
            # The inputs of a softmax stay float32: the last convolutions are excluded here, other operations by type.
            # Everything after them is excluded too: if it were quantized, its inputs, the logits, would be as well.
            nodes_to_exclude=_from_last_convolutions(model.graph, classes),
            extra_options={
                "CalibMovingAverage": True,
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
            },
        )
        quantized = (folder / "int8.onnx").read_bytes()
    _compare(network, quantized, calibration, classes)
    return quantized


def _from_last_convolutions(graph: onnx.GraphProto, classes: int) -> list[str]:
    """Names of the convolutions that produce scores of shape (batch, classes), and of all nodes after them."""
    producers = {output: node for node in graph.node for output in node.output}
    logits: set[str] = set()
    for output in graph.output:
        if [dimension.dim_value for dimension in output.type.tensor_type.shape.dim][1:] == [classes]:
            node = producers.get(output.name)
            while node is not None and node.op_type in PASSED_ON:
                node = producers.get(node.input[0])
            if node is not None and node.op_type == "Conv":
                logits.update(node.output)
    names = [producers[output].name for output in logits]
    for node in graph.node:  # in topological order, as ONNX requires
        if logits.intersection(node.input):
            logits.update(node.output)
            names.append(node.name)
    return names


class _Images(CalibrationDataReader):
    """Iterates over the calibration tensors."""

    def __init__(self, name: str, tensors: Sequence[Tensor]) -> None:
        self._name = name
        self._tensors = iter(tensors)

    def get_next(self) -> dict[str, Tensor] | None:
        tensor = next(self._tensors, None)
        return None if tensor is None else {self._name: tensor[np.newaxis]}


def _compare(network: bytes, quantized: bytes, calibration: Sequence[Tensor], classes: int) -> None:
    original, int8 = (_best(file, calibration, classes) for file in (network, quantized))
    same = sum(first == second for first, second in zip(original, int8, strict=True))
    say: Callable[..., None] = log.info if same >= AGREEMENT * len(calibration) else log.warning
    say("int8 and fp32 give the same label for %d of %d calibration images", same, len(calibration))


def _best(file: bytes, tensors: Sequence[Tensor], classes: int) -> list[int]:
    """The best label of each tensor."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    scores = next(output.name for output in session.get_outputs() if list(output.shape)[1:] == [classes])
    return [int(session.run([scores], {input_name: tensor[np.newaxis]})[0].argmax()) for tensor in tensors]
