"""A model on disk: a folder with ``model.toml`` (the manifest), the model file, a file of labels, perhaps their names.

None of it is code: dropping such a folder into ``MODELS_DIR`` adds a model (``docs/models.md``).
"""

import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from app.classifier.activations import Activation
from app.classifier.fingerprint import Stamp, cached_sha256, fingerprint, stamp_of, stamps_of
from app.classifier.labels import LabelsInvalid, decode_text, parse_labels
from app.classifier.names.catalog import LabelCatalog, LabelNames, NamesInvalid
from app.classifier.names.imagenet import known_catalog
from app.domain import MAX_MODEL_NAME, MODEL_NAME, ModelBroken, Thresholds
from app.images.preprocessing import InputSpec

MANIFEST: Final = "model.toml"
NAMES: Final = "labels.json"
MAX_NAMES_BYTES: Final = 16 * 2**20
MIN_LABELS: Final = 2
MAX_SIZE: Final = 4096
"""Pixels of a side of the input."""
MAX_VERSION_LENGTH: Final = 64
FINGERPRINT_DIGITS: Final = 6
"""Digits of the fingerprint in a version."""

Name = Annotated[str, StringConstraints(pattern=MODEL_NAME, max_length=MAX_MODEL_NAME)]
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f\x7f]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=MAX_VERSION_LENGTH)]
PerChannel = float | tuple[float, float, float]
RuntimeName = Literal["litert", "openvino", "onnx"]
Precision = Literal["fp32", "bf16", "int8"]


class _Table(BaseModel):
    # "model" is a term of this service, so pydantic must not reserve the prefix model_.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class InputTable(_Table):
    """``[input]`` of an image model: how to prepare an image, see ``preprocessing.InputSpec``."""

    size: int = Field(gt=0, le=MAX_SIZE)
    resize: Literal["crop", "squash"] = "crop"
    short_side: int | None = Field(default=None, gt=0, le=8192)
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: PerChannel = 1 / 127.5
    offset: PerChannel = -1.0
    layout: Literal["nhwc", "nchw"] = "nhwc"

    @model_validator(mode="after")
    def _crop_lies_within(self) -> Self:
        if self.short_side is not None and self.short_side < self.size:
            raise ValueError(f"short_side ({self.short_side}) must be at least size ({self.size})")
        return self

    @property
    def spec(self) -> InputSpec:
        """The table as an InputSpec."""
        short_side = self.short_side or self.size
        return InputSpec(self.size, self.resize, short_side, self.channels, self.scale, self.offset)


class OutputTable(_Table):
    """``[output]`` of an image model: how to turn the output into probabilities."""

    activation: Activation = "none"


def _pairs(table: object) -> object:
    return tuple(table.items()) if isinstance(table, Mapping) else table


class DecisionTable(_Table):
    """``[decision]`` of an image model: from which confidence on its best label is sure.

    The default was chosen for 95 % right among those that are sure (docs/decisions/0045).
    """

    sure_from: float = Field(default=0.4, ge=0, le=1)
    # Pairs, because manifests are hashed.
    labels: Annotated[tuple[tuple[str, Annotated[float, Field(ge=0, le=1)]], ...], BeforeValidator(_pairs)] = Field(
        default=(), description="Other confidences for some labels."
    )

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that this model's results have."""
        return Thresholds(self.sure_from, dict(self.labels))


class Feature(_Table):
    """One of ``[[features]]`` of a tabular model: a number with bounds and a default."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=MAX_MODEL_NAME)]
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    default: float
    description: str = ""

    @model_validator(mode="after")
    def _default_lies_within(self) -> Self:
        low = self.default if self.minimum is None else self.minimum
        high = self.default if self.maximum is None else self.maximum
        if not low <= self.default <= high:
            raise ValueError(f"{self.name}: the default ({self.default}) must be between minimum and maximum")
        return self


class _Manifest(_Table):
    name: Name = Field(description="Name of the model in requests.")
    version: Version = Field(description="Prefix of the model's version.")
    file: FileName
    labels: FileName
    file_sha256: Sha256 | None = Field(default=None, description="SHA-256 of the model file; others are refused.")
    fingerprint: str = Field(default="", description="Fingerprint of the exported files.")
    weights_sha256: str = ""
    weights_source: str = ""
    exporter: str = Field(default="", description="Name and version of the exporter.")
    note: str = Field(default="", description="Shown with the model.")

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        if len({self.file, self.labels, MANIFEST, NAMES}) < 4:  # noqa: PLR2004 - four files
            raise ValueError(f"file, labels, {MANIFEST} and {NAMES} must be different files")
        return self


class ImageManifest(_Manifest):
    """``model.toml`` of an image model."""

    kind: Literal["image"]
    runtime: RuntimeName = "litert"
    precision: Precision = "fp32"
    input: InputTable
    output: OutputTable = OutputTable()
    decision: DecisionTable = DecisionTable()

    @model_validator(mode="after")
    def _runtime_has_precision(self) -> Self:
        if self.precision == "bf16" and self.runtime != "openvino":
            raise ValueError("only openvino runs bf16")
        return self


class TabularManifest(_Manifest):
    """``model.toml`` of a tabular model."""

    kind: Literal["tabular"]
    runtime: Literal["onnx"] = "onnx"
    features: tuple[Feature, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) < len(names):
            raise ValueError("two features have the same name")
        return self


Manifest = ImageManifest | TabularManifest
_FINGERPRINTED: Final[dict[str, Any]] = {
    **dict.fromkeys(("kind", "runtime", "input", "output"), True),
    "features": {"__all__": {"name", "default"}},
}
"""The parts of a manifest that results depend on."""
_ANY_KIND: Final[TypeAdapter[Manifest]] = TypeAdapter(Annotated[Manifest, Field(discriminator="kind")])


@dataclass(frozen=True, slots=True)
class Model:
    """A complete model on disk."""

    manifest: Manifest
    folder: Path
    labels: tuple[str, ...]
    fingerprint: str
    """SHA-256 of all that results depend on: the model's files, its labels, and parts of its manifest."""
    stamps: tuple[Stamp, ...] = field(compare=False)
    """Of the model's files when they were read."""
    catalog: LabelCatalog = field(compare=False)
    """Names and categories of the labels; results do not depend on them."""
    catalog_sha256: str
    """Of the file of names; empty without one."""

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Identifies all that results depend on.

        The manifest's version, followed by the fingerprint if the exporter did not write exactly these files.
        """
        if self.fingerprint == self.manifest.fingerprint:
            return self.manifest.version
        suffix = f"-{self.fingerprint[:FINGERPRINT_DIGITS]}"
        return f"{self.manifest.version[: MAX_VERSION_LENGTH - len(suffix)]}{suffix}"

    def has_version(self, version: str) -> bool:
        """Whether results of a version are this model's: also as earlier versions of the service named it."""
        return version in {self.version, self.manifest.version} or self.manifest.weights_sha256.startswith(version)

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / self.manifest.file

    def is_unchanged(self) -> bool:
        """Whether the files on disk are still those that were read."""
        try:
            return _stamps(self.folder, self.manifest) == self.stamps
        except OSError:
            return False


def fingerprint_of(manifest: Manifest, labels: tuple[str, ...], files: Mapping[str, str]) -> str:
    """SHA-256 in hexadecimal of all that a model's results depend on. ``files``: SHA-256 by name."""
    settings = manifest.model_dump(mode="json", include=_FINGERPRINTED, exclude_defaults=True)
    if isinstance(manifest, ImageManifest) and manifest.precision == "bf16":
        # In other precisions, the file differs.
        settings["precision"] = "bf16"
    return fingerprint(settings, labels, files)


@contextmanager
def without_path(folder: Path) -> Iterator[None]:
    """Remove the path of the models folder from ModelBroken raised inside: clients read these messages, too."""
    try:
        yield
    except ModelBroken as error:
        raise ModelBroken(error.message.replace(f"{folder.parent}{os.sep}", "")) from error


def read_model(folder: Path) -> Model:
    """Read a model's folder. Raises ModelBroken with the reason."""
    with without_path(folder):
        return _read(folder)


def _read(folder: Path) -> Model:
    try:
        manifest_stamp = stamp_of(_regular(folder / MANIFEST))
        manifest = _ANY_KIND.validate_python(tomllib.loads(decode_text(manifest_stamp.path.read_bytes())))
        _regular(folder / manifest.file)
        stamps = _stamps(folder, manifest)
        labels = _labels(folder / manifest.labels)
        files = {
            str(stamp.path.relative_to(folder)): cached_sha256(stamp)
            for stamp in stamps
            if stamp.path not in {folder / MANIFEST, folder / manifest.labels, folder / NAMES}
        }
        catalog, catalog_sha256 = _catalog(folder / NAMES, labels)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ModelBroken(f"The model in {folder} is incomplete: {missing} is missing.") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'][1:]) or 'manifest'}: {e['msg']}" for e in error.errors()
        )
        raise ModelBroken(f"{folder / MANIFEST} is broken: {problems}.") from error
    except LabelsInvalid as error:
        raise ModelBroken(f"{folder / MANIFEST} cannot be read: {error}.") from error
    except (OSError, ValueError, RecursionError) as error:
        # Of these, ValueError is tomllib's: also for numbers with thousands of digits.
        raise ModelBroken(f"The model in {folder} cannot be read: {error}.") from error
    if manifest.file_sha256 and manifest.file_sha256.lower() != files[manifest.file]:
        raise ModelBroken(
            f"{folder / manifest.file} has the SHA-256 {files[manifest.file]}, but its manifest says "
            f"{manifest.file_sha256}: restore the file, or correct file_sha256."
        )
    model = Model(manifest, folder, labels, fingerprint_of(manifest, labels, files), stamps, catalog, catalog_sha256)
    if manifest_stamp not in stamps or not model.is_unchanged():
        raise ModelBroken(f"The files of the model in {folder} are changing: they are read again when complete.")
    return model


def _stamps(folder: Path, manifest: Manifest) -> tuple[Stamp, ...]:
    """The stamps of a model's files. Other runtimes than LiteRT may keep weights in files beside the model file."""
    names = (MANIFEST, manifest.labels, manifest.file, *([NAMES] if (folder / NAMES).exists() else []))
    named = [stamp_of(folder / name) for name in names]
    return tuple(dict.fromkeys(named if manifest.runtime == "litert" else [*named, *stamps_of(folder)]))


def _labels(path: Path) -> tuple[str, ...]:
    try:
        labels = parse_labels(_regular(path).read_bytes())
    except LabelsInvalid as error:
        raise ModelBroken(f"The labels in {path} cannot be used: {error}.") from error
    if len(labels) < MIN_LABELS:
        raise ModelBroken(f"{path} must have one label per line, and at least two.")
    return labels


def _catalog(path: Path, labels: tuple[str, ...]) -> tuple[LabelCatalog, str]:
    """The names of labels, and the SHA-256 of their file. Without one, ImageNet's labels have names anyway."""
    if not path.exists():
        return known_catalog(labels) or LabelCatalog(tuple(LabelNames(label=label) for label in labels)), ""
    data = _regular(path).read_bytes()
    if len(data) > MAX_NAMES_BYTES:
        raise ModelBroken(f"{path} is larger than {MAX_NAMES_BYTES // 2**20} MiB.")
    try:
        return LabelCatalog.from_json(data, labels), hashlib.sha256(data).hexdigest()
    except NamesInvalid as error:
        raise ModelBroken(f"The names in {path} cannot be used: {error}.") from error


def _regular(path: Path) -> Path:
    # Reading a named pipe would block forever.
    if path.exists() and not path.is_file():
        raise ModelBroken(f"{path} is not a file.")
    # A link could show any file of this machine to clients. Within the folder, container platforms use links.
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise ModelBroken(f"{path} is a link to a file outside of its folder: copy the file.")
    return path
