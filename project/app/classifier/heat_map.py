"""Heat maps: the class activation map of a label (Zhou et al., 2016), drawn over the image.

For a network that ends in average pooling and one dense layer, the contribution of each position to a label is known
exactly without gradients, because the dense layer can be applied before averaging: ``logit[label] = mean over positions
(features[position] . weights[label]) + bias[label]``.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.classifier.manifest import ImageManifest, Model
from app.domain import NotExplainable
from app.images.preprocessing import InputSpec, render_upright, to_tensor

MAX_SIDE: Final = 768
"""Longer side of the heat map in pixels."""
STRONGEST: Final = 0.65
"""Opacity at the strongest position, over the image."""
OUTLINE: Final = ((255, 255, 255, 255), (0, 0, 0, 160))
"""Colours of the line around the area that the model sees, and of the one within it: seen on any image."""
# Dark to bright, so that it is readable without colour: points of matplotlib's "inferno".
_COLOURS: Final = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], dtype=np.float32
)


@dataclass(frozen=True, slots=True)
class _Head:
    """Tensor indices of a network's last feature map and the weights of its dense layer."""

    features: int
    weights: int


class Explainer:
    """A LiteRT model that keeps its feature maps: slower than for classification, and loaded separately."""

    def __init__(self, model: Model, version: str) -> None:
        """Load the model. Raises NotExplainable for results of another version, and for most kinds of networks.

        The network must end in pooling and a dense layer.
        """
        if not model.has_version(version):
            raise NotExplainable(
                f"Another version of the model {model.name} classified this image: classify it again for a heat map."
            )
        assert isinstance(model.manifest, ImageManifest)
        if model.manifest.runtime != "litert":
            raise NotExplainable(f"The model {model.name} has no heat map: only fp32 LiteRT models have one.")
        self._model = model
        self._spec: InputSpec = model.manifest.input.spec
        content = model.path.read_bytes()
        head = _head_of(content)
        if head is None:
            raise NotExplainable(
                f"The model {model.name} has no heat map: it does not end in average pooling and one dense layer."
            )
        self._head = head
        # Delegates fuse operations; without them all intermediate tensors are available.
        self._interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()

    def shares(self, tensor: NDArray[np.float32], label: str) -> NDArray[np.float32]:
        """Contribution of each position to a label's logit, float32 of shape (rows, columns).

        Their mean plus the bias is the logit.

        ``tensor``: float32 of shape (size, size, 3). Raises NotExplainable if the model does not have the label.
        """
        if label not in self._model.labels:
            raise NotExplainable(f"The model {self._model.name} has no label {label!r}.")
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], tensor[np.newaxis])
        self._interpreter.invoke()
        features: NDArray[np.float32] = self._interpreter.get_tensor(self._head.features)[0]
        weights: NDArray[np.float32] = self._interpreter.get_tensor(self._head.weights)
        shares: NDArray[np.float32] = features @ weights[self._model.labels.index(label)]
        return shares

    def heat_map(self, data: bytes, label: str, *, overlay: bool = False) -> bytes:
        """A PNG of the image with the heat map of a label, and a line around the area that the model sees.

        ``overlay``: without the image, transparent where it would be seen; at full strength, to be drawn over the
        image with any opacity. Raises ImageUnreadable, or NotExplainable.
        """
        shares = self.shares(to_tensor(data, self._spec), label).clip(min=0)
        heat = Image.fromarray(shares / (shares.max() or 1))
        image = render_upright(data, MAX_SIDE)
        left, top, right, bottom = (round(edge) for edge in self._spec.box(image.width, image.height))
        # In a very thin image the visible area may be narrower than a pixel.
        left, top = min(left, image.width - 1), min(top, image.height - 1)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        strength = heat.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        warmth = np.asarray(strength, dtype=np.float32).clip(0, 1)
        colours = np.zeros((image.height, image.width, 4), np.float32)
        colours[top:bottom, left:right, :3] = _coloured(warmth)
        colours[top:bottom, left:right, 3] = 255 * warmth * (1 if overlay else STRONGEST)
        drawn = Image.fromarray(colours.round().astype(np.uint8), "RGBA")
        if (left, top, right, bottom) != (0, 0, *image.size):
            draw = ImageDraw.Draw(drawn)
            for distance, colour in enumerate(OUTLINE):
                corners = (left + distance, top + distance, right - 1 - distance, bottom - 1 - distance)
                if corners[0] <= corners[2] and corners[1] <= corners[3]:
                    draw.rectangle(corners, outline=colour)
        shown = drawn if overlay else Image.alpha_composite(image.convert("RGBA"), drawn).convert("RGB")
        file = BytesIO()
        shown.save(file, "PNG", compress_level=4)
        return file.getvalue()


def _coloured(warmth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours, 0..255 of shape (…, 3), for intensities 0..1."""
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(warmth, places, channel) for channel in _COLOURS.T], axis=-1).astype(np.float32)


def _head_of(lite: bytes) -> _Head | None:
    """The end of a network, read from its file (LiteRT schema); None if it ends differently."""
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
    while (operation := operations.get(at)) and kind(operation) in {known.SOFTMAX, known.LOGISTIC, known.RESHAPE}:
        at = operation.Inputs(0)
    if operation is None or kind(operation) != known.FULLY_CONNECTED:
        return None
    weights, at = operation.Inputs(1), operation.Inputs(0)
    while (operation := operations.get(at)) and kind(operation) == known.RESHAPE:
        at = operation.Inputs(0)
    if operation is None or kind(operation) not in {known.MEAN, known.AVERAGE_POOL_2D}:
        return None
    features = operation.Inputs(0)
    # Pooling must average all positions, not windows of them.
    pooled = graph.Tensors(at).ShapeAsNumpy()
    shape = graph.Tensors(features).ShapeAsNumpy()
    if len(shape) != 4 or int(np.prod(pooled)) != int(shape[-1]):  # noqa: PLR2004 - batch, rows, columns, channels
        return None
    return _Head(features, weights)
