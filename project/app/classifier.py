"""The model at work: reading an exported model's folder, and running it with LiteRT.

A model is a folder with ``model.toml`` (the manifest), a LiteRT file and a file of labels, made by
``python -m app export-model``. TensorFlow is never imported here.
"""

import queue
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.domain import LabelScore, StartupError
from app.imaging import InputSpec

MANIFEST: Final = "model.toml"
TOP: Final = 5
PREFERRED: Final = "mobilenet_v2"
FALLBACK: Final = "efficientnet_lite0"
FALLBACK_NOTE: Final = (
    f"MobileNetV2's weights were not to be had, so {FALLBACK} answers instead. "
    "Connect to the internet, or set MODEL_WEIGHTS to the file, and run `make model MODEL=mobilenet_v2`."
)
MAKE_ONE: Final = "run `make model`, or `python -m app export-model` where TensorFlow is installed"


class InputManifest(BaseModel):
    """The ``[input]`` table of a manifest: see ``imaging.InputSpec``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(gt=0)
    short_side: int = Field(gt=0)
    scale: float
    offset: float


class Manifest(BaseModel):
    """``model.toml``: what a model is called, what identifies its weights, and what it expects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    kind: Literal["image"]
    version: str = Field(min_length=1, max_length=64, description="Identifies the weights: the start of their SHA-256.")
    weights_sha256: str
    weights_source: str
    exporter: str = Field(description="Name and version of the converter.")
    file: str
    labels: str
    input: InputManifest


@dataclass(frozen=True, slots=True)
class Model:
    """An exported model on disk."""

    manifest: Manifest
    folder: Path
    labels: tuple[str, ...]
    note: str | None = None
    """What its users should know, where it is not the model that was wished for."""

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """What identifies its weights."""
        return self.manifest.version

    @property
    def input(self) -> InputSpec:
        """What an image has to be made into."""
        return InputSpec(**self.manifest.input.model_dump())


def read_model(folder: Path) -> Model:
    """Read an exported model's folder. Raises StartupError that says what is wrong with it."""
    try:
        manifest = Manifest.model_validate(tomllib.loads((folder / MANIFEST).read_text()))
        labels = tuple((folder / manifest.labels).read_text(encoding="utf-8").split())
    except FileNotFoundError as error:
        raise StartupError(f"The model in {folder} is incomplete, {error.filename} is missing: {MAKE_ONE}.") from error
    except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
        raise StartupError(f"The model in {folder} has a broken manifest ({error}): {MAKE_ONE}.") from error
    if not (folder / manifest.file).is_file():
        raise StartupError(f"The model in {folder} is incomplete, {manifest.file} is missing: {MAKE_ONE}.")
    return Model(manifest, folder, labels)


def find_model(models_dir: Path, choice: str) -> Model:
    """The model that ``choice`` (a name, or ``auto``) stands for. Raises StartupError where it was never exported."""
    names = [PREFERRED, FALLBACK] if choice == "auto" else [choice]
    for name in names:
        if (models_dir / name / MANIFEST).exists():
            model = read_model(models_dir / name)
            return model if name == names[0] else replace(model, note=FALLBACK_NOTE)
    raise StartupError(f"There is no model {' or '.join(names)} in {models_dir}: {MAKE_ONE}.")


class Classifier:
    """A loaded model. ``classify`` may be called from ``threads`` threads at once: each gets an interpreter."""

    def __init__(self, model: Model, threads: int) -> None:
        self.model = model
        # An interpreter serves one thread at a time; the last one used has the warmest caches.
        self._free: queue.LifoQueue[Interpreter] = queue.LifoQueue()
        for _ in range(threads):
            self._free.put(self._load())
        interpreter = self._free.get()
        self._input: int = interpreter.get_input_details()[0]["index"]
        self._scores = self._scores_index(interpreter)
        self._free.put(interpreter)

    def _load(self) -> Interpreter:
        path = self.model.folder / self.model.manifest.file
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise StartupError(f"LiteRT cannot load {path}: {MAKE_ONE}. ({error})") from error
        size = self.model.input.size
        shape = tuple(interpreter.get_input_details()[0]["shape"])
        if shape != (1, size, size, 3):
            raise StartupError(f"{path} takes {shape}, but its manifest says (1, {size}, {size}, 3).")
        return interpreter

    def _scores_index(self, interpreter: Interpreter) -> int:
        """Which output holds the scores; the other is the last feature map."""
        labels = len(self.model.labels)
        outputs: list[dict[str, Any]] = interpreter.get_output_details()
        for output in outputs:
            if tuple(output["shape"]) == (1, labels):
                return int(output["index"])
        raise StartupError(f"The model in {self.model.folder} has no output of {labels} scores, one for each label.")

    def scores(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """All scores, float32 of shape (labels,), 0..1, for one image tensor of shape (size, size, 3)."""
        interpreter = self._free.get()
        try:
            interpreter.set_tensor(self._input, tensor[np.newaxis])
            interpreter.invoke()
            scores: NDArray[np.float32] = interpreter.get_tensor(self._scores)[0]
        finally:
            self._free.put(interpreter)
        return scores

    def classify(self, tensor: NDArray[np.float32]) -> list[LabelScore]:
        """The five best labels of one image tensor, highest first."""
        scores = self.scores(tensor)
        best = np.argpartition(scores, -TOP)[-TOP:]
        best = best[np.argsort(scores[best])[::-1]]
        return [LabelScore(self.model.labels[i], round(float(scores[i]), 6)) for i in best]
