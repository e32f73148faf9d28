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
    (staging / MANIFEST).write_text(tomli_w.dumps(manifest.model_dump(exclude_none=True)), encoding="utf-8")
    if folder.exists():
        folder.rename(replaced)
    staging.rename(folder)
    _remove(replaced)
    log.info(MODEL_EXPORTED, manifest.name, manifest.version, folder)
    return folder


def _remove(folder: Path) -> None:
    """Remove a folder, or a link to one."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
