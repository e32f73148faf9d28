"""Measures the runtimes and precisions in which this machine can run a model.

A variant is a model folder of its own: the same weights, with another runtime or precision.
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.classifier.export.folder import EXPORTER, ExportedModel, Weights, install_image_model
from app.classifier.image_classifier import Classifier
from app.classifier.manifest import ImageManifest, Model, Precision, RuntimeName, read_model
from app.classifier.registry import FALLBACK, PREFERRED
from app.classifier.tuned import Tuned, runtime_version, write_tuned
from app.config import Settings
from app.domain import ModelBroken, StartupError

ROUNDS: Final = 5
SECONDS: Final = 0.5
"""Of one measurement; a variant is measured once in each round."""
MIN_CALIBRATION_IMAGES: Final = 40

Tensor = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Variant:
    """A runtime and a precision for a model."""

    runtime: RuntimeName
    precision: Precision


VARIANTS: Final = (
    Variant("litert", "fp32"),
    Variant("onnx", "fp32"),
    Variant("openvino", "fp32"),
    Variant("openvino", "bf16"),
    Variant("onnx", "int8"),
    Variant("openvino", "int8"),
)
BASE: Final = VARIANTS[0]


@dataclass(slots=True)
class Measurement:
    """The measurement of a variant. ``reason``: why it could not be measured."""

    variant: Variant
    reason: str = ""
    milliseconds: list[float] = field(default_factory=list)
    """Per image, with all cores at work; one for each round."""
    agreement: float = 0.0
    """Share of the images whose best label is that of the float32 model, 0..1."""

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.milliseconds)


class Tuning:
    """The variants of a model, and what was measured of them."""

    def __init__(self, settings: Settings, model: Model) -> None:
        """``model``: the float32 model, run by LiteRT."""
        assert isinstance(model.manifest, ImageManifest)
        self._settings = settings
        self._model = model
        self._manifest = model.manifest
        self._files: dict[Variant, bytes] = {}

    def measure(self, tensors: Sequence[Tensor]) -> list[Measurement]:
        """Measure all variants with float32 tensors of shape (size, size, 3), the fastest first.

        The first half of the images calibrates int8, and the labels of all variants are compared on the second half.
        """
        calibration, evaluation = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        measurements = [Measurement(variant) for variant in VARIANTS]
        with tempfile.TemporaryDirectory(prefix="tune-") as folder:
            classifiers: dict[Variant, Classifier] = {}
            for measurement in measurements:
                try:
                    classifiers[measurement.variant] = self._load(measurement.variant, Path(folder), calibration)
                except (ModelBroken, StartupError) as error:
                    if measurement.variant == BASE:
                        raise StartupError(error.message) from error
                    measurement.reason = error.message
            expected = _labels(classifiers[BASE], evaluation)
            for measurement in measurements:
                if classifier := classifiers.get(measurement.variant):
                    labels = _labels(classifier, evaluation)
                    measurement.agreement = sum(map(int.__eq__, labels, expected)) / len(expected)
            for _ in range(ROUNDS):
                for measurement in measurements:
                    if classifier := classifiers.get(measurement.variant):
                        measurement.milliseconds.append(_time(classifier, evaluation, self._settings.worker_threads))
        return sorted(measurements, key=lambda measured: measured.median if measured.milliseconds else float("inf"))

    def use(self, chosen: Measurement, note: str) -> str:
        """Make a variant the default model, and return its name. ``note``: why, for users."""
        variant = chosen.variant
        if variant == BASE:
            write_tuned(self._settings.models, None)
            return self._model.name
        folder = self._install(self._settings.models, variant, self._files[variant], note, logging.INFO)
        write_tuned(self._settings.models, Tuned(self._model.name, folder.name))
        return folder.name

    def _load(self, variant: Variant, folder: Path, calibration: Sequence[Tensor]) -> Classifier:
        if runtime_version(variant.runtime) is None:
            raise ModelBroken(f"{variant.runtime} is not installed.")
        if variant.precision == "bf16":
            _require_bfloat16()
        if variant == BASE:
            return Classifier(self._model, self._settings.worker_threads)
        self._files[variant] = self._file(variant, calibration)
        model = read_model(self._install(folder, variant, self._files[variant], "", logging.DEBUG))
        return Classifier(model, self._settings.worker_threads)

    def _file(self, variant: Variant, calibration: Sequence[Tensor]) -> bytes:
        if variant.precision == "int8":
            for other, file in self._files.items():
                if other.precision == "int8":
                    return file
            return self._int8(calibration)
        return self._onnx() if variant.runtime == "onnx" else self._model.path.read_bytes()

    def _onnx(self) -> bytes:
        if self._model.name not in {PREFERRED, FALLBACK}:
            raise StartupError("Only the models that `make model` exports can be written for it.")
        try:
            # The container image leaves out what these import.
            from app.classifier.export.default_model import network_of
            from app.classifier.export.onnx_file import onnx_file
        except ModuleNotFoundError as error:
            raise StartupError(f"{error.name} is not installed.") from error
        network, weights = network_of(self._model.name, self._settings)
        if weights.sha256 != self._manifest.weights_sha256:
            raise StartupError(f"{weights.path} is not the file that the model was exported from.")
        return onnx_file(network)

    def _int8(self, calibration: Sequence[Tensor]) -> bytes:
        if len(calibration) < MIN_CALIBRATION_IMAGES:
            raise StartupError(f"It needs {2 * MIN_CALIBRATION_IMAGES} images.")
        network = self._onnx()
        from app.classifier.export.quantization import to_int8

        return to_int8(network, calibration, len(self._model.labels))

    def _install(self, folder: Path, variant: Variant, file: bytes, note: str, log_level: int) -> Path:
        weights = Weights(self._model.path, self._manifest.weights_source, self._manifest.weights_sha256)
        exported = ExportedModel(
            self._model.name, list(self._model.labels), weights, self._manifest.input, self._manifest.output.activation
        )
        exporter = f"{EXPORTER} tune, {runtime_version(variant.runtime)}"
        return install_image_model(
            folder,
            exported,
            variant.precision,
            exporter,
            file,
            runtime=variant.runtime,
            note=note,
            log_level=log_level,
        )


def fastest(measurements: Sequence[Measurement], agreement: float) -> Measurement:
    """The fastest variant whose agreement is at least ``agreement``."""
    return next(measured for measured in measurements if measured.milliseconds and measured.agreement >= agreement)


def _labels(classifier: Classifier, tensors: Sequence[Tensor]) -> list[int]:
    return [int(classifier.scores(tensor).argmax()) for tensor in tensors]


def _time(classifier: Classifier, tensors: Sequence[Tensor], threads: int) -> float:
    """Milliseconds per image with all threads at work."""
    counts = [0] * threads
    started_at = time.perf_counter()

    def classify(number: int) -> None:
        while counts[number] == 0 or time.perf_counter() - started_at < SECONDS:
            classifier.scores(tensors[counts[number] % len(tensors)])
            counts[number] += 1

    with ThreadPoolExecutor(threads) as workers:
        # Raises what a thread has raised.
        list(workers.map(classify, range(threads)))
    return 1000 * (time.perf_counter() - started_at) / sum(counts)


def _require_bfloat16() -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelBroken("This processor has no instructions for bfloat16.")
