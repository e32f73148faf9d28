"""The choice of ``classifier tune``: which variant of a model is the default on this machine (``tuned.json``)."""

import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FILE: Final = "tuned.json"
_PACKAGES: Final = {"litert": "ai_edge_litert", "onnx": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True, slots=True)
class Tuned:
    """A choice. ``model``: the name of the float32 model; ``variant``: the folder that is served in its place."""

    model: str
    variant: str


def read_tuned(models_dir: Path) -> Tuned | None:
    """The choice for a folder of models; None if there is none, or if the file was damaged."""
    try:
        return Tuned(**json.loads((models_dir / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
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


def has_runtime(name: str) -> bool:
    """Whether a runtime is installed."""
    return importlib.util.find_spec(_PACKAGES[name]) is not None
