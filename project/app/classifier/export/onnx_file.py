"""Writes a convolutional network as an ONNX file, which the int8 quantizer reads."""

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.classifier.export.convolutional import RELU6, Convolution, ConvolutionalNetwork

OPSET: Final = 17
_IR_VERSION: Final = 8
"""Of opset 17: later versions exclude older runtimes."""


def onnx_file(network: ConvolutionalNetwork) -> bytes:
    """A float32 file: the input of shape (1, size, size, 3), the outputs ``scores`` and ``embedding``."""
    graph = _Graph()
    image = graph.operation("Transpose", ["image"], "channels_first", perm=[0, 3, 1, 2])
    side = network.size
    results: list[str] = []
    for number, convolution in enumerate(network.convolutions):
        image = graph.convolution(f"convolution_{number}", convolution, image, side)
        side = convolution.side(side)
        if convolution.shortcut is not None:
            image = graph.operation("Add", [image, results[convolution.shortcut]], f"sum_{number}")
        results.append(image)
    pooled = graph.operation("GlobalAveragePool", [image], "pooled")
    graph.operation("Flatten", [pooled], "embedding")
    dense = [graph.constant("logits/weights", network.dense), graph.constant("logits/bias", network.bias)]
    graph.operation("Gemm", ["embedding", *dense], "logits")
    graph.operation("Softmax", ["logits"], "scores", axis=-1)
    return graph.packed((1, network.size, network.size, 3), network.labels, network.features)


class _Graph:
    """A graph that grows by one operation at a time. Tensors are names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, content: "np.ndarray[Any, np.dtype[np.float32]]") -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(content), name))
        return name

    def operation(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def convolution(self, name: str, convolution: Convolution, image: str, side: int) -> str:
        before, after = convolution.padding(side)
        # (outputs, channels, rows, columns); of a depthwise convolution, (channels, 1, rows, columns).
        axes = (2, 3, 0, 1) if convolution.depthwise else (3, 2, 0, 1)
        weights = self.constant(f"{name}/weights", convolution.weights.transpose(axes))
        result = self.operation(
            "Conv",
            [image, weights, self.constant(f"{name}/bias", convolution.bias)],
            name,
            kernel_shape=[convolution.kernel] * 2,
            strides=[convolution.stride] * 2,
            pads=[before, before, after, after],
            group=len(convolution.bias) if convolution.depthwise else 1,
        )
        if not convolution.relu6:
            return result
        limits = [self.constant(f"{name}/{limit}", np.array(limit, np.float32)) for limit in (0.0, RELU6)]
        return self.operation("Clip", [result, *limits], f"{name}/relu6")

    def packed(self, image: tuple[int, ...], labels: int, features: int) -> bytes:
        """The file."""
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
            [
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, labels)),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, (1, features)),
            ],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())
