"""Reads the images that int8 is calibrated with (``CALIBRATION_IMAGES``)."""

import itertools
import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.config import Settings
from app.domain import ImageUnreadable, StartupError
from app.images.preprocessing import InputSpec, to_tensor
from app.observability.log_events import EXPORT_CALIBRATING, EXPORT_FEW_IMAGES, EXPORT_NO_IMAGE

log = logging.getLogger(__name__)

MIN_IMAGES: Final = 100
MAX_IMAGES: Final = 500


def calibration_tensors(settings: Settings, spec: InputSpec) -> list[NDArray[np.float32]]:
    """The first images of the folder as float32 tensors of shape (size, size, 3). Raises StartupError without any."""
    folder = settings.calibration_images
    if folder is None or not folder.is_dir():
        raise StartupError(
            "int8 needs calibration: set CALIBRATION_IMAGES to a folder with at least 100 typical images."
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    tensors = []
    for path in itertools.islice(files, MAX_IMAGES):
        try:
            tensors.append(to_tensor(path.read_bytes(), spec))
        except ImageUnreadable:
            log.info(EXPORT_NO_IMAGE, path)
    if not tensors:
        raise StartupError("CALIBRATION_IMAGES contains no readable image.")
    if len(tensors) < MIN_IMAGES:
        log.warning(EXPORT_FEW_IMAGES, len(tensors), MIN_IMAGES)
    else:
        log.info(EXPORT_CALIBRATING, len(tensors))
    return tensors
