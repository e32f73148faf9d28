"""Installs a model's folder."""

import logging
import shutil
from pathlib import Path

import tomli_w

from app.classifier.manifest import MANIFEST, Manifest
from app.observability.log_events import MODEL_EXPORTED

log = logging.getLogger(__name__)


def install_model(models_dir: Path, manifest: Manifest, network: bytes, labels: list[str]) -> Path:
    """Write a model's folder atomically, replacing one of the same name."""
    making, folder = models_dir / f".{manifest.name}.making", models_dir / manifest.name
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    (making / manifest.file).write_bytes(network)
    (making / manifest.labels).write_text("\n".join(labels) + "\n", encoding="utf-8")
    (making / MANIFEST).write_text(tomli_w.dumps(manifest.model_dump(exclude_none=True)), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)
    log.info(MODEL_EXPORTED, manifest.name, manifest.version, folder)
    return folder
