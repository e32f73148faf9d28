"""Why a model says a label: its class activation map (Zhou et al., 2016), laid over the image.

Of a network that ends in average pooling and one dense layer, each place's share in a label is known exactly, without
gradients, since the dense layer may as well be applied before the mean is taken:
``logit[label] = mean over places (features[place] . weights[label]) + bias[label]``.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from PIL import Image

from app.domain import NotExplainable
from app.imaging import InputSpec, to_tensor, upright
from app.manifest import ImageManifest, Model

LONGEST: Final = 768
"""Pixels of the longer side of what is shown."""
STRONGEST: Final = 0.65
"""How much of the image the strongest place covers."""
# Dark to bright, so that it is read without colours too: points of matplotlib's "inferno".
_COLOURS: Final = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], dtype=np.float32
)


@dataclass(frozen=True, slots=True)
class _Head:
    """Where a network's last feature map and its dense layer are: numbers of tensors."""

    features: int
    weights: int


class Explainer:
    """A LiteRT model whose feature maps can be looked at: slower than the one that classifies, and loaded anew."""

    def __init__(self, model: Model) -> None:
        """Load it. Raises NotExplainable where it has no such end."""
        assert isinstance(model.manifest, ImageManifest)
        if model.manifest.runtime != "litert":
            raise NotExplainable(f"The model {model.name} has no heat map: only LiteRT models in fp32 have one.")
        self._model = model
        self._spec: InputSpec = model.manifest.input.spec
        head = _head_of(model.path.read_bytes())
        if head is None:
            raise NotExplainable(
                f"The model {model.name} has no heat map: it does not end in average pooling and one dense layer."
            )
        self._head = head
        # Only without delegates, which join operations, are all tensors there to be looked at.
        self._interpreter = Interpreter(
            model_path=str(model.path),
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()

    def shares(self, tensor: NDArray[np.float32], label: str) -> NDArray[np.float32]:
        """What each place adds to a label's logit, float32 of shape (rows, columns): their mean, and a bias, are it.

        ``tensor``: float32 of shape (size, size, 3). Raises NotExplainable where the model does not know the label.
        """
        if label not in self._model.labels:
            raise NotExplainable(f"The model {self._model.name} does not know the label {label!r}.")
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], tensor[np.newaxis])
        self._interpreter.invoke()
        features: NDArray[np.float32] = self._interpreter.get_tensor(self._head.features)[0]
        weights: NDArray[np.float32] = self._interpreter.get_tensor(self._head.weights)
        shares: NDArray[np.float32] = features @ weights[self._model.labels.index(label)]
        return shares

    def heat_map(self, data: bytes, label: str) -> bytes:
        """A PNG of the image with what speaks for a label laid over it; what the model does not see stays as it is.

        Raises ImageUnreadable, or NotExplainable.
        """
        shares = self.shares(to_tensor(data, self._spec), label).clip(min=0)
        heat = Image.fromarray(shares / (shares.max() or 1))
        image = upright(data, LONGEST)
        left, top, right, bottom = (round(edge) for edge in self._spec.box(image.width, image.height))
        # Of a thin image the part that is seen may be no whole pixel wide.
        left, top = min(left, image.width - 1), min(top, image.height - 1)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        strength = heat.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        warmth = np.asarray(strength, dtype=np.float32).clip(0, 1)
        pixels = np.asarray(image, dtype=np.float32).copy()
        seen = pixels[top:bottom, left:right]
        cover = STRONGEST * warmth[..., np.newaxis]
        seen += cover * (_coloured(warmth) - seen)
        file = BytesIO()
        Image.fromarray(pixels.round().astype(np.uint8)).save(file, "PNG", compress_level=4)
        return file.getvalue()


def _coloured(warmth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours, 0..255 of shape (…, 3), for 0..1."""
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(warmth, places, channel) for channel in _COLOURS.T], axis=-1).astype(np.float32)


def _head_of(lite: bytes) -> _Head | None:
    """The end of a network, read from the file (LiteRT's schema); None where it is another."""
    network = schema.Model.GetRootAs(lite, 0)
    graph = network.Subgraphs(0)
    operations: dict[int, Any] = {}
    for number in range(graph.OperatorsLength()):
        operation = graph.Operators(number)
        for output in range(operation.OutputsLength()):
            operations[operation.Outputs(output)] = operation

    def kind(operation: Any) -> int:
        code = network.OperatorCodes(operation.OpcodeIndex())
        # Codes above 127 are in the newer of the two fields.
        return max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))

    known = schema.BuiltinOperator
    at = graph.Outputs(0)
    while (operation := operations.get(at)) and kind(operation) in {known.SOFTMAX, known.RESHAPE}:
        at = operation.Inputs(0)
    if operation is None or kind(operation) != known.FULLY_CONNECTED:
        return None
    weights, at = operation.Inputs(1), operation.Inputs(0)
    while (operation := operations.get(at)) and kind(operation) == known.RESHAPE:
        at = operation.Inputs(0)
    if operation is None or kind(operation) not in {known.MEAN, known.AVERAGE_POOL_2D}:
        return None
    features = operation.Inputs(0)
    # Averages over all places, not over windows of them.
    pooled = graph.Tensors(at).ShapeAsNumpy()
    shape = graph.Tensors(features).ShapeAsNumpy()
    if len(shape) != 4 or int(np.prod(pooled)) != int(shape[-1]):  # noqa: PLR2004 - batch, rows, columns, channels
        return None
    return _Head(features, weights)
