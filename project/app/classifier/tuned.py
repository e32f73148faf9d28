"""The choice of ``classifier tune``: which variant of a model is the default on this machine (``tuned.json``)."""

import json
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

FILE: Final = "tuned.json"
_PACKAGES: Final = {"litert": "ai-edge-litert", "onnx": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True, slots=True)
class Tuned:
    """A choice. ``model``: the name of the float32 model; ``variant``: the folder that is served in its place."""

    model: str
    variant: str


def read_tuned(models_dir: Path) -> Tuned | None:
    """The choice for a folder of models; None if there is none, or if the file was damaged."""
    try:
        choice = json.loads((models_dir / FILE).read_text(encoding="utf-8"))
        return Tuned(str(choice["model"]), str(choice["variant"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_tuned(models_dir: Path, tuned: Tuned | None) -> None:
    """Store a choice, or remove it: the float32 model is served."""
    path = models_dir / FILE
    if tuned is None:
        path.unlink(missing_ok=True)
        return
    staging = models_dir / f".{FILE}"
    staging.write_text(json.dumps(asdict(tuned)), encoding="utf-8")
    staging.replace(path)


def runtime_version(name: str) -> str | None:
    """The version of a runtime's package; None if it is not installed."""
    try:
        return f"{_PACKAGES[name]} {metadata.version(_PACKAGES[name])}"
    except metadata.PackageNotFoundError:
        return None
