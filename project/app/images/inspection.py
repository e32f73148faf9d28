"""Detects what an image file is, from its header, and removes its metadata. Pure functions."""

import sys
from typing import Final

from app.domain import ImageInfo, ImageTooLarge, NotAnImage
from app.images import exif, jpeg, metadata
from app.images.corrections import clean_aperture, readable
from app.images.formats import FORMATS, jpeg_scans_in_tiff, open_image, orientation_of
from app.images.identify import SENTENCES, describe, is_raw
from app.images.metered_file import MeteredFile
from app.images.structure import check_structure
from app.images.tiff_samples import describe_tiff, unsupported

MAX_SIDE: Final = 100_000
"""Readers keep several rows: thin images would take much more memory than others of so many pixels."""


def inspect(data: bytes, max_pixels: int) -> ImageInfo:
    """Detect format and size from the header, without decoding.

    Raises NotAnImage for unsupported bytes, ImageTooLarge above ``max_pixels``.
    """
    try:
        if data.startswith(jpeg.SIGNATURE):
            width, height = jpeg.size(data)
            content_type, extension, orientation = "image/jpeg", "jpg", jpeg.orientation(data)
        else:
            check_structure(data)
            data = readable(data)
            if is_raw(data):
                raise NotAnImage(reason="This is a camera's raw file: convert it to JPEG first.")
            if what := unsupported(data):
                raise NotAnImage(reason=f"This is a TIFF with {what}: save it with 8 bits per sample.")
            with open_image(MeteredFile(data)) as image:
                aperture = clean_aperture(data, image)
                width, height = (aperture[2] - aperture[0], aperture[3] - aperture[1]) if aperture else image.size
                content_type, extension = FORMATS[image.format]
                orientation = orientation_of(image)
                if scans := jpeg_scans_in_tiff(data, image):
                    jpeg.check_scanned_pixels(scans, width, height)
    except (MemoryError, ImageTooLarge, NotAnImage):
        raise
    except Exception as error:
        # Readers raise many kinds of exceptions for broken headers; all of them mean the same.
        raise NotAnImage(reason=_reason(data)) from error
    if width <= 0 or height <= 0:
        raise NotAnImage
    if max(width, height) > MAX_SIDE:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit for a side is {MAX_SIDE}.")
    if width * height > max_pixels:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit is {max_pixels}.")
    return ImageInfo(content_type, extension, *((height, width) if orientation >= exif.SWAPPED else (width, height)))


def _reason(data: bytes) -> str | None:
    """What a file is that no reader accepts; None if that is unknown."""
    what = describe(data) or describe_tiff(data)
    if what is None:
        return None
    says_what_to_do, with_advice = SENTENCES
    return (says_what_to_do if ":" in what else with_advice).format(what)


def strip_metadata(data: bytes, image: ImageInfo) -> bytes:
    """The file of an inspected image without its metadata (``app.images.metadata``).

    Raises NotAnImage if it cannot be parsed or would become a different image.
    """
    try:
        bare = metadata.strip_metadata(data, image.content_type)
    except MemoryError:
        raise
    except Exception as error:
        # As with headers: any error here is caused by the file.
        raise NotAnImage from error
    # Readers disagree on duplicate fields: the stored file must be the image that was inspected.
    if bare != data and inspect(bare, sys.maxsize) != image:
        raise NotAnImage
    return bare
