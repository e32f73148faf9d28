"""Drawings of two kinds, circles and stripes, each different, from which custom models can learn."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from tests.pictures import encoded

SIDE = 160


def circles(seed: int) -> bytes:
    """A JPEG of coloured circles on a dark ground."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), tuple(random.integers(0, 60, 3)))
    draw = ImageDraw.Draw(image)
    for x, y, radius in random.integers((0, 0, 10), (SIDE, SIDE, 40), (8, 3)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), tuple(random.integers(100, 256, 3)))
    return encoded(image, "JPEG")


def stripes(seed: int) -> bytes:
    """A JPEG of coloured stripes on a light ground."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), tuple(random.integers(200, 256, 3)))
    draw = ImageDraw.Draw(image)
    slant = int(random.integers(-60, 60))
    for x in range(-60, SIDE + 60, int(random.integers(14, 30))):
        draw.line((x, 0, x + slant, SIDE), tuple(random.integers(0, 150, 3)), width=int(random.integers(3, 9)))
    return encoded(image, "JPEG")


def enlarged(*, is_circles: bool) -> bytes:
    """A PNG of more than 64 KiB of one of both kinds."""
    with Image.open(io.BytesIO((circles if is_circles else stripes)(900))) as image:
        data = encoded(image.resize((6 * SIDE, 6 * SIDE)), "PNG")
    assert len(data) > 64 * 1024
    return data


def recompressed(data: bytes) -> bytes:
    """Nearly the same image in another file."""
    with Image.open(io.BytesIO(data)) as image:
        return encoded(image.convert("RGB"), "JPEG", quality=70)


def noise(seed: int) -> bytes:
    """A JPEG that is unlike both kinds."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG")


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A ZIP file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def examples(count: int, first: int = 0) -> dict[str, bytes]:
    """``count`` pictures of each kind, by name: ``circle/0.jpg``."""
    numbers = range(first, first + count)
    return {f"circle/{n}.jpg": circles(n) for n in numbers} | {f"stripe/{n}.jpg": stripes(n) for n in numbers}
