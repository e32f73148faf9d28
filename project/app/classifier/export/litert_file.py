"""Writes a convolutional network as a LiteRT file (``.tflite``)."""

from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from app.classifier.export.convolutional import Convolution, ConvolutionalNetwork

_ALIGNMENT: Final = 16
"""Bytes, of each buffer of weights (schema.fbs, ``force_align``)."""
_VERSION: Final = 3
_IDENTIFIER: Final = b"TFL3"


def litert_file(network: ConvolutionalNetwork) -> bytes:
    """A float32 file: the input of shape (1, size, size, 3), the outputs ``scores`` and ``embedding``."""
    graph = _Graph()
    image = graph.tensor("image", (1, network.size, network.size, 3))
    side = network.size
    results: list[int] = []
    for number, convolution in enumerate(network.convolutions):
        side = convolution.side(side)
        image = graph.convolution(f"convolution_{number}", convolution, image, side)
        if convolution.shortcut is not None:
            image = graph.add(f"sum_{number}", image, results[convolution.shortcut])
        results.append(image)
    embedding = graph.mean("embedding", image, network.features)
    logits = graph.dense("logits", embedding, network.dense.T, network.bias)
    scores = graph.softmax("scores", logits)
    return graph.packed(inputs=[0], outputs=[scores, embedding])


class _Graph:
    """A graph that grows by one operation at a time. Tensors are numbers."""

    def __init__(self) -> None:
        self._graph = schema.SubGraphT()
        self._graph.name = "main"
        self._graph.tensors, self._graph.operators = [], []
        # By convention, the first buffer is empty.
        self._buffers: list[Any] = [schema.BufferT()]
        self._codes: dict[int, int] = {}

    def tensor(self, name: str, shape: tuple[int, ...], content: NDArray[Any] | None = None) -> int:
        """A new tensor; ``content``: of a constant one."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensor.type = schema.TensorType.FLOAT32
        if content is not None:
            assert content.shape == shape
            if content.dtype == np.int32:
                tensor.type = schema.TensorType.INT32
            tensor.buffer = len(self._buffers)
            self._buffers.append(_AlignedBuffer(np.frombuffer(np.ascontiguousarray(content).tobytes(), np.uint8)))
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def convolution(self, name: str, convolution: Convolution, image: int, side: int) -> int:
        if convolution.depthwise:
            code, options = schema.BuiltinOperator.DEPTHWISE_CONV_2D, schema.DepthwiseConv2DOptionsT()
            options.depthMultiplier = 1
        else:
            code, options = schema.BuiltinOperator.CONV_2D, schema.Conv2DOptionsT()
        # Outputs first; of a depthwise convolution, which has one for each channel, the 1.
        weights = convolution.weights.transpose(3, 0, 1, 2)
        options.padding = schema.Padding.SAME
        options.strideW = options.strideH = convolution.stride
        options.dilationWFactor = options.dilationHFactor = 1
        if convolution.relu6:
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        inputs = [image, *self._constants(name, weights, convolution.bias)]
        return self._operation(code, options, inputs, name, (1, side, side, len(convolution.bias)))

    def add(self, name: str, first: int, second: int) -> int:
        shape = tuple(self._graph.tensors[first].shape)
        return self._operation(schema.BuiltinOperator.ADD, schema.AddOptionsT(), [first, second], name, shape)

    def mean(self, name: str, image: int, features: int) -> int:
        """The mean over all positions."""
        options = schema.ReducerOptionsT()
        options.keepDims = False
        axes = self.tensor(f"{name}/axes", (2,), np.array([1, 2], np.int32))
        return self._operation(schema.BuiltinOperator.MEAN, options, [image, axes], name, (1, features))

    def dense(self, name: str, features: int, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> int:
        inputs = [features, *self._constants(name, weights, bias)]
        options = schema.FullyConnectedOptionsT()
        return self._operation(schema.BuiltinOperator.FULLY_CONNECTED, options, inputs, name, (1, len(bias)))

    def softmax(self, name: str, logits: int) -> int:
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        shape = tuple(self._graph.tensors[logits].shape)
        return self._operation(schema.BuiltinOperator.SOFTMAX, options, [logits], name, shape)

    def _constants(self, name: str, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> tuple[int, int]:
        return (
            self.tensor(f"{name}/weights", weights.shape, weights),
            self.tensor(f"{name}/bias", bias.shape, bias),
        )

    def _operation(self, code: int, options: Any, inputs: list[int], name: str, shape: tuple[int, ...]) -> int:
        operation = schema.OperatorT()
        operation.opcodeIndex = self._codes.setdefault(code, len(self._codes))
        # The union's members are named like its classes.
        operation.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        operation.builtinOptions = options
        output = self.tensor(name, shape)
        operation.inputs, operation.outputs = inputs, [output]
        self._graph.operators.append(operation)
        return output

    def packed(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The file."""
        self._graph.inputs, self._graph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version = _VERSION
        model.operatorCodes = [_operator_code(code) for code in self._codes]
        model.subgraphs = [self._graph]
        model.buffers = self._buffers
        builder = flatbuffers.Builder(sum(len(buffer.data) for buffer in self._buffers if buffer.data is not None))
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc] # LiteRT has no types
    """A buffer at an address that runtimes may read floats from."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        super().__init__()
        self.data = data

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the library's name
        """Write the buffer, preceded by as many zeros as its alignment needs."""
        builder.Prep(_ALIGNMENT, self.data.size)
        return super().Pack(builder)


def _operator_code(code: int) -> Any:
    operator = schema.OperatorCodeT()
    # Codes below 127 are in both fields, for readers of older versions.
    operator.deprecatedBuiltinCode = operator.builtinCode = code
    operator.version = 1
    return operator
