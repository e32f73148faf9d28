"""Exports a Keras application or a user's own model: converts it to LiteRT, verifies it, and installs its folder."""

import logging
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnxruntime
import tensorflow as tf
import tf2onnx

from app.classifier.activations import Activation
from app.classifier.export.calibration import calibration_tensors
from app.classifier.export.folder import ExportedModel, Weights, install_image_model
from app.classifier.export.imagenet import imagenet_labels
from app.classifier.export.keras.conversion import to_litert, to_onnx
from app.classifier.export.keras.keras_models import load_keras, of_keras, of_own_keras
from app.classifier.export.keras.legacy_keras import is_legacy, of_legacy_keras
from app.classifier.export.keras.networks import (
    IMAGENET,
    RANDOM,
    OwnOptions,
    SourceNetwork,
    is_keras_application,
    keras_application,
    one_line,
    registry_name,
    weights_digest,
)
from app.classifier.export.keras.saved_models import of_saved_model
from app.classifier.export.quantization import to_int8
from app.classifier.export.weights import mobilenet_v2_weights, sha256_of_folder
from app.classifier.fingerprint import sha256_of
from app.classifier.labels import LabelsInvalid, parse_labels
from app.config import Settings
from app.domain import MODEL_NAME, StartupError
from app.observability.log_events import EXPORT_ACTIVATION, EXPORT_CONVERTING, EXPORT_QUANTISING

log = logging.getLogger(__name__)

APPLICATION: Final = "MobileNetV2"


@dataclass(frozen=True, slots=True)
class Request:
    """What to export. ``source``: a Keras application, a file or folder."""

    source: str
    name: str = ""
    weights: str = IMAGENET
    labels: Path | None = None
    preprocessing: str = ""
    squash: bool = False
    output: str = ""
    size: int = 0
    activation: Activation | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """A named network, and the origin of its weights."""

    name: str
    network: SourceNetwork
    weights: Weights
    labels: list[str]


def export_model(settings: Settings, request: Request) -> Path:
    """Export a model into ``MODELS_DIR`` and return its folder; ``MODEL_PRECISION`` selects the precision.

    Raises StartupError if the weights are unavailable or unreadable, or the converted model's scores differ.
    """
    if (request.output or request.size or request.activation) and is_keras_application(request.source):
        raise StartupError("--output, --size and --activation are for your own models: leave them out.")
    source = _source(settings, request)
    network, precision = source.network, settings.export_precision
    if len(source.labels) != network.classes:
        raise StartupError(f"The model has {network.classes} labels, but {request.labels} has {len(source.labels)}.")
    table = network.input.model_copy(update={"resize": "squash"}) if request.squash else network.input
    calibration = calibration_tensors(settings, table.spec) if precision == "int8" else []
    log.info(EXPORT_CONVERTING, source.name)
    log.info(EXPORT_ACTIVATION, network.activation)
    file = to_litert(network)
    exporter = f"tensorflow {tf.__version__}"
    if precision == "int8":
        log.info(EXPORT_QUANTISING)
        file = to_int8(to_onnx(file), calibration, network.classes)
        exporter += f", tf2onnx {tf2onnx.__version__}, onnxruntime {onnxruntime.__version__}"
    model = ExportedModel(source.name, source.labels, source.weights, table, network.activation)
    return install_image_model(settings.models, model, precision, exporter, file)


def _source(settings: Settings, request: Request) -> _Source:
    if is_keras_application(request.source):
        return _application(settings, request)
    path = Path(request.source)
    if not path.exists():
        raise StartupError(
            f"{request.source} is neither a keras.applications model (MobileNetV2, ResNet50, …) nor a file."
        )
    return _own(path, request)


def _application(settings: Settings, request: Request) -> _Source:
    if request.weights in {IMAGENET, RANDOM}:
        if request.source == APPLICATION and request.weights == IMAGENET:
            # Our own download verifies a checksum and can resume.
            path: Path | str = mobilenet_v2_weights(settings).path
        else:
            path = request.weights
    else:
        path = _existing(Path(request.weights), "--weights")
    model, table = keras_application(request.source, path)
    digest = sha256_of(path) if isinstance(path, Path) else weights_digest(model)
    description = path.name if isinstance(path, Path) else f"keras.applications.{request.source}, {path}"
    weights = Weights(Path(request.source), description, digest)
    labels = _labels(request.labels) if request.labels else imagenet_labels()
    name = request.name or registry_name(request.source)
    return _Source(name, of_keras(model, table), weights, labels)


def _own(path: Path, request: Request) -> _Source:
    """A user's own ``.keras`` or ``.h5`` file, or SavedModel."""
    if request.labels is None:
        raise StartupError(f"{path} needs labels: add --labels FILE, with one label per line.")
    if not request.preprocessing:
        raise StartupError(f"{path} needs an input range: add --preprocessing (see project/docs/models.md).")
    labels = _labels(request.labels)
    own = OwnOptions(request.preprocessing, request.output, request.size, request.activation)
    name = request.name or _name_from(path)
    if not re.fullmatch(MODEL_NAME, name):
        raise StartupError(f"{name!r} is no name for a model: add --name with letters, digits, dots, _ and -.")
    try:
        network = _own_network(path, own)
    except StartupError:
        raise
    except Exception as error:
        # The network's own layers raise errors of any type.
        raise StartupError(f"{path} cannot be exported: {one_line(error)}") from error
    digest = sha256_of_folder(path) if path.is_dir() else sha256_of(path)
    return _Source(name, network, Weights(path, path.name, digest), labels)


def _own_network(path: Path, own: OwnOptions) -> SourceNetwork:
    if path.is_dir():
        return of_saved_model(path, own)
    return of_legacy_keras(path, own) if is_legacy(path) else of_own_keras(load_keras(path), own)


def _name_from(path: Path) -> str:
    """A file's name without accents and other characters that a model's name must not have."""
    ascii_name = unicodedata.normalize("NFKD", path.stem).encode("ascii", errors="ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_name).strip("._-")


def _labels(path: Path) -> list[str]:
    try:
        return list(parse_labels(_existing(path, "--labels").read_bytes()))
    except LabelsInvalid as error:
        raise StartupError(f"The labels in {path} cannot be used: {error}.") from error


def _existing(path: Path, option: str) -> Path:
    if not path.is_file():
        raise StartupError(f"{option} is {path}, which {'is not a file' if path.exists() else 'does not exist'}.")
    return path
