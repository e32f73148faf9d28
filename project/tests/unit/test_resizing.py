"""Scaling with SIMD instructions gives what Pillow gives, for every shape and in any number of threads."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.images import resizing
from app.images.preprocessing import InputSpec
from app.images.resizing import Box, resize
from tests.pictures import scene

MEAN = 0.5
MOST = 24
"""Levels of 255. Most differences are rounding; the largest are at hard edges."""

Pixels = NDArray[np.uint8]


def by_pillow(pixels: Pixels, size: tuple[int, int], box: Box) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=box))


def smooth(width: int, height: int) -> Pixels:
    """A picture of any shape."""
    return np.asarray(scene(256, 256).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("how", ["crop", "squash"])
@pytest.mark.parametrize(
    ("width", "height"),
    [
        (1, 1),
        (1, 500),
        (500, 1),
        (2, 3000),
        (3000, 2),
        (3, 3),
        (224, 224),
        (255, 257),
        (256, 256),
        (500, 375),
        (9999, 7),
    ],
)
def test_result_equals_that_of_pillow(width: int, height: int, how: str) -> None:
    spec = InputSpec(resize="crop" if how == "crop" else "squash")
    pixels, box, size = smooth(width, height), spec.box(width, height), (spec.size, spec.size)
    assert find_spec("cykooz_resizer"), "Pillow would be compared with itself"
    found = np.asarray(resize(pixels, size, box), np.int16)
    difference = np.abs(found - by_pillow(pixels, size, box))
    assert found.shape == (224, 224, 3)
    assert difference.mean() < MEAN
    assert difference.max() <= MOST


def test_any_part_of_an_image_can_be_scaled() -> None:
    random = np.random.default_rng(1)
    for _ in range(200):
        width, height = (int(side) for side in random.integers(1, 400, 2))
        left, right = sorted(random.uniform(0, width, 2))
        top, bottom = sorted(random.uniform(0, height, 2))
        box = (float(left), float(top), float(max(right, left + 1e-3)), float(max(bottom, top + 1e-3)))
        box = (*box[:2], min(box[2], float(width)), min(box[3], float(height)))
        assert resize(smooth(width, height), (40, 30), box).size == (40, 30)


def test_threads_do_not_share_a_resizer() -> None:
    pixels, box = smooth(640, 480), InputSpec().box(640, 480)
    expected = resize(pixels, (224, 224), box).tobytes()
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: resize(pixels, (224, 224), box).tobytes(), range(200)))
    assert set(results) == {expected}


def test_pillow_scales_where_the_library_is_missing() -> None:
    pixels, box = smooth(500, 375), InputSpec().box(500, 375)
    with patch.object(resizing, "simd", None):
        found = np.asarray(resize(pixels, (224, 224), box))
    np.testing.assert_array_equal(found, by_pillow(pixels, (224, 224), box))


def test_pillow_scales_large_images_which_would_be_copied() -> None:
    pixels = np.zeros((3000, 3000, 3), np.uint8)
    with patch.object(resizing, "_by_simd") as by_simd:
        assert resize(pixels, (224, 224), (0, 0, 3000, 3000)).size == (224, 224)
    by_simd.assert_not_called()
