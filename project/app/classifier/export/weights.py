"""MobileNetV2's weights: a file from the user, Keras' cache, or a download."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Final

import httpx
from tqdm import tqdm

from app.classifier.export.folder import Weights
from app.classifier.fingerprint import sha256_of
from app.config import Settings
from app.domain import StartupError
from app.observability.log_events import DOWNLOAD_STARTED

log = logging.getLogger(__name__)

FILE: Final = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
URL: Final = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{FILE}"
SHA256: Final = "3e195a2857356cfc092cbbb460beb2a5bce279015d7792598b8d3d9e451902e3"


class WeightsUnavailable(StartupError):
    """MobileNetV2's weights are unavailable."""


def mobilenet_v2_weights(settings: Settings) -> Weights:
    """``MODEL_WEIGHTS``, or else Keras' cache, or else a download. Raises WeightsUnavailable."""
    if settings.model_weights:
        path = settings.model_weights
        if not path.is_file():
            raise StartupError(f"MODEL_WEIGHTS is {path}, which does not exist.")
        return Weights(path, path.name, sha256_of(path))
    cached = keras_cache() / FILE
    if cached.is_file() and sha256_of(cached) == SHA256:
        return Weights(cached, FILE, SHA256)
    return Weights(download(URL, settings.models / ".downloads" / FILE, SHA256), FILE, SHA256)


def keras_cache() -> Path:
    """Keras' download cache."""
    # Keras' own variable, not a setting of this service.
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"


def sha256_of_folder(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files, in hexadecimal: a SavedModel's variables are files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\0".encode())
    return digest.hexdigest()


def download(url: str, path: Path, sha256: str) -> Path:
    """Download a file, resuming an interrupted download, and verify it. Raises WeightsUnavailable."""
    if path.is_file() and sha256_of(path) == sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    log.info(DOWNLOAD_STARTED, url)
    try:
        _fetch(url, part)
    except (httpx.HTTPError, OSError) as error:
        raise WeightsUnavailable(
            f"MobileNetV2's weights could not be downloaded ({str(error) or type(error).__name__}): "
            f"download {url} on another machine and set MODEL_WEIGHTS to the file."
        ) from error
    if (found := sha256_of(part)) != sha256:
        part.unlink()
        raise WeightsUnavailable(f"The SHA-256 of {url} is {found} instead of {sha256}: the file was deleted.")
    part.replace(path)
    return path


def _fetch(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    # Byte ranges refer to the stored bytes, so the response must not be compressed.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=20) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The file is complete already; the checksum decides.
            return
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        total = int(response.headers.get("content-length", 0)) + (have if resumed else 0)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total or None, initial=have if resumed else 0, unit="B", unit_scale=True) as progress,
        ):
            for chunk in response.iter_bytes():
                file.write(chunk)
                progress.update(len(chunk))
