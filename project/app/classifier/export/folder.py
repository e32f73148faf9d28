"""Installs a model's folder."""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Final

import tomli_w

from app.classifier.manifest import MANIFEST, Manifest, TabularManifest, fingerprint_of
from app.observability.log_events import MODEL_EXPORTED

log = logging.getLogger(__name__)

VERSION_DIGITS: Final = 12
UNVERSIONED: Final = "unversioned"
"""The version of a manifest until its model is installed."""


def install_model(models_dir: Path, draft: Manifest, network: bytes, labels: list[str]) -> Path:
    """Write a model's folder, replacing one of the same name at once. ``draft``: its manifest, UNVERSIONED."""
    files = {draft.file: hashlib.sha256(network).hexdigest()}
    fingerprint = fingerprint_of(draft, tuple(labels), files)
    suffix = "" if isinstance(draft, TabularManifest) or draft.precision == "fp32" else f"-{draft.precision}"
    manifest = draft.model_copy(
        update={"version": f"{fingerprint[:VERSION_DIGITS]}{suffix}", "fingerprint": fingerprint}
    )
    making, folder = models_dir / f".{manifest.name}.making", models_dir / manifest.name
    replaced = models_dir / f".{manifest.name}.replaced"
    for leftover in (making, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    making.mkdir(parents=True)
    (making / manifest.file).write_bytes(network)
    (making / manifest.labels).write_text("\n".join(labels) + "\n", encoding="utf-8")
    (making / MANIFEST).write_text(tomli_w.dumps(manifest.model_dump(exclude_none=True)), encoding="utf-8")
    if folder.exists():
        folder.rename(replaced)
    making.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    log.info(MODEL_EXPORTED, manifest.name, manifest.version, folder)
    return folder
