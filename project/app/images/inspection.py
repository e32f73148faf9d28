"""Detects what an image file is, from its header, and removes its metadata. Pure functions."""

import sys

from app.domain import ImageInfo, ImageTooLarge, NotAnImage
from app.images import exif, jpeg, metadata
from app.images.formats import FORMATS, MeteredFile, jpeg_scans_in_tiff, open_image, orientation_of
from app.images.structure import check_structure


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
            with open_image(MeteredFile(data)) as image:
                width, height = image.size
                content_type, extension = FORMATS[image.format]
                orientation = orientation_of(image)
                if scans := jpeg_scans_in_tiff(data, image):
                    jpeg.check_scanned_pixels(scans, width, height)
    except (MemoryError, ImageTooLarge):
        raise
    except Exception as error:
        # Readers raise many kinds of exceptions for broken headers; all of them mean the same.
        raise NotAnImage from error
    if width <= 0 or height <= 0:
        raise NotAnImage
    if width * height > max_pixels:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; the limit is {max_pixels}.")
    return ImageInfo(content_type, extension, *((height, width) if orientation >= exif.SWAPPED else (width, height)))


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
    if inspect(bare, sys.maxsize) != image:
        raise NotAnImage
    return bare
