"""A model on disk: a folder with ``model.toml`` (the manifest), the model file and a file of labels.

None of it is code: dropping such a folder into ``MODELS_DIR`` adds a model (``docs/models.md``).
"""

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from app.domain import ModelBroken
from app.images.preprocessing import InputSpec

MANIFEST: Final = "model.toml"
MAX_NAME_LENGTH: Final = 64
MIN_LABELS: Final = 2

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MAX_NAME_LENGTH)]
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\]+$")]
PerChannel = float | tuple[float, float, float]
RuntimeName = Literal["litert", "openvino", "onnx"]
Precision = Literal["fp32", "int8"]


class _Table(BaseModel):
    # "model" is a term of this service, so pydantic must not reserve the prefix model_.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class InputTable(_Table):
    """``[input]`` of an image model: how to prepare an image, see ``preprocessing.InputSpec``."""

    size: int = Field(gt=0, le=4096)
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

    activation: Literal["none", "softmax"] = "none"


class Feature(_Table):
    """One of ``[[features]]`` of a tabular model: a number with bounds and a default."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=MAX_NAME_LENGTH)]
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
    version: str = Field(min_length=1, max_length=64, description="Identifies the weights; stored in every row.")
    file: FileName
    labels: FileName
    weights_sha256: str = ""
    weights_source: str = ""
    exporter: str = Field(default="", description="Name and version of the exporter.")


class ImageManifest(_Manifest):
    """``model.toml`` of an image model."""

    kind: Literal["image"]
    runtime: RuntimeName = "litert"
    precision: Precision = "fp32"
    input: InputTable
    output: OutputTable = OutputTable()


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
_ANY_KIND: Final[TypeAdapter[Manifest]] = TypeAdapter(Annotated[Manifest, Field(discriminator="kind")])


@dataclass(frozen=True, slots=True)
class Model:
    """A complete model on disk."""

    manifest: Manifest
    folder: Path
    labels: tuple[str, ...]
    stamp: tuple[int, int]
    """Modification time and size of the model file: another file is another model."""

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Identifies the weights."""
        return self.manifest.version

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / self.manifest.file


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
        manifest = _ANY_KIND.validate_python(tomllib.loads(_text(folder / MANIFEST)))
        labels = _labels(folder / manifest.labels)
        file = _regular(folder / manifest.file).stat()
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ModelBroken(f"The model in {folder} is incomplete: {missing} is missing.") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'][1:]) or 'manifest'}: {e['msg']}" for e in error.errors()
        )
        raise ModelBroken(f"{folder / MANIFEST} is broken: {problems}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ModelBroken(f"The model in {folder} cannot be read: {error}.") from error
    if len(set(labels)) < MIN_LABELS:
        raise ModelBroken(f"{folder / manifest.labels} must have one label per line, and at least two.")
    return Model(manifest, folder, labels, (file.st_mtime_ns, file.st_size))


def _labels(path: Path) -> tuple[str, ...]:
    """One label per line, without trailing empty lines."""
    return tuple(line.strip() for line in _text(path).rstrip().split("\n"))


def _text(path: Path) -> str:
    return _regular(path).read_text(encoding="utf-8")


def _regular(path: Path) -> Path:
    # Reading a named pipe would block forever.
    if path.exists() and not path.is_file():
        raise ModelBroken(f"{path} is not a file.")
    # A link could show any file of this machine to clients. Within the folder, container platforms use links.
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise ModelBroken(f"{path} is a link to a file outside of its folder: copy the file.")
    return path
