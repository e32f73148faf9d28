"""Installs a model's folder."""

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tomli_w
from pydantic import ValidationError

from app.classifier.activations import Activation
from app.classifier.manifest import (
    MANIFEST,
    NAMES,
    ImageManifest,
    InputTable,
    Manifest,
    OutputTable,
    Precision,
    RuntimeName,
    TabularManifest,
    fingerprint_of,
)
from app.classifier.names.imagenet import known_catalog
from app.classifier.registry import folder_name
from app.domain import StartupError
from app.observability.log_events import MODEL_EXPORTED

log = logging.getLogger(__name__)

VERSION_DIGITS: Final = 12
RUNTIMES: Final[dict[Precision, RuntimeName]] = {"fp32": "litert", "bf16": "openvino", "int8": "onnx"}
"""The runtime of a model in each precision, unless another was measured to be faster."""
EXPORTER: Final = "image-classifier"
UNVERSIONED: Final = "unversioned"
"""The version of a manifest until its model is installed."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights, its name, and its SHA-256 in hexadecimal."""

    path: Path
    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """An image model without its file."""

    name: str
    """Without the precision."""
    labels: list[str]
    weights: Weights
    input: InputTable
    activation: Activation = "none"


def install_image_model(
    models_dir: Path,
    model: ExportedModel,
    precision: Precision,
    exporter: str,
    file: bytes,
    *,
    runtime: RuntimeName | None = None,
    note: str = "",
    log_level: int = logging.INFO,
) -> Path:
    """Install an image model, and return its folder.

    ``file``: an ONNX file for int8, and for fp32 with that runtime; else a LiteRT file. ``runtime``: None for the usual
    one of a precision. Raises StartupError.
    """
    usual = RUNTIMES[precision]
    runtime = runtime or usual
    extension = "onnx" if "onnx" in {usual, runtime} else "tflite"
    name = folder_name(model.name, precision)
    if runtime != usual:
        name = f"{name}_{runtime}"
    try:
        manifest = ImageManifest(
            name=name,
            kind="image",
            version=UNVERSIONED,
            weights_sha256=model.weights.sha256,
            weights_source=model.weights.source,
            exporter=exporter,
            note=note,
            runtime=runtime,
            file=f"{name}.{extension}",
            labels="labels.txt",
            precision=precision,
            input=model.input,
            output=OutputTable(activation=model.activation),
        )
    except ValidationError as error:
        (first, *_) = error.errors()
        raise StartupError(f"The manifest's {'.'.join(map(str, first['loc']))} is invalid: {first['msg']}.") from error
    return install_model(models_dir, manifest, file, model.labels, log_level)


def install_model(
    models_dir: Path, draft: Manifest, network: bytes, labels: list[str], log_level: int = logging.INFO
) -> Path:
    """Write a model's folder, and replace one of the same name. ``draft``: its manifest, UNVERSIONED."""
    files = {draft.file: hashlib.sha256(network).hexdigest()}
    fingerprint = fingerprint_of(draft, tuple(labels), files)
    suffix = "" if isinstance(draft, TabularManifest) or draft.precision == "fp32" else f"-{draft.precision}"
    manifest = draft.model_copy(
        update={"version": f"{fingerprint[:VERSION_DIGITS]}{suffix}", "fingerprint": fingerprint}
    )
    folder = models_dir / manifest.name
    staging, replaced = (models_dir / f".{manifest.name}.{kind}" for kind in ("making", "replaced"))
    if replaced.exists() and not folder.exists():
        # The last export ended between the two steps below.
        replaced.rename(folder)
    _remove(staging)
    _remove(replaced)
    staging.mkdir(parents=True)
    (staging / manifest.file).write_bytes(network)
    (staging / manifest.labels).write_text("\n".join(labels) + "\n", encoding="utf-8")
    if catalog := known_catalog(labels):
        (staging / NAMES).write_bytes(catalog.to_json())
    # Services before the table [decision] would refuse it.
    table = manifest.model_dump(exclude_none=True, exclude={"decision"})
    (staging / MANIFEST).write_text(tomli_w.dumps(table), encoding="utf-8")
    if folder.exists():
        folder.rename(replaced)
    staging.rename(folder)
    _remove(replaced)
    log.log(log_level, MODEL_EXPORTED, manifest.name, manifest.version, folder)
    return folder


def _remove(folder: Path) -> None:
    """Remove a folder, or a link to one."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
