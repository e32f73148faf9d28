"""``make memory``: the peak of each format at MAX_IMAGE_PIXELS, for classification and for rendering."""

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from app.config import Settings
from app.images import jpeg
from app.images.formats import open_image
from app.images.memory import BYTES_PER_PIXEL
from app.images.preprocessing import render_jpeg, to_tensor
from benchmarks.machine import machine
from tests.pictures import encoded
from tests.pictures import jpeg as small_jpeg

MIB: Final = 2**20
VIEWED_SIDE: Final = 1024
TOLERANCE_MIB: Final = 40
"""Tables, tensors and the encoded result, whatever the size."""
NEED: Final[dict[str, Callable[[bytes], bytes | object]]] = {
    "classification": to_tensor,
    "rendering": lambda data: render_jpeg(data, VIEWED_SIDE),
}


def main() -> int:
    """Measure, print a table, and fail where an estimate is too low."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--pixels", type=int, default=Settings.model_fields["max_image_pixels"].default)
    side = int(parser.parse_args().pixels ** 0.5)
    print(f"| {side} x {side} pixels | file | classification | rendering | reserved |")
    print("| --- | --- | --- | --- | --- |")
    is_enough = True
    context = multiprocessing.get_context("spawn")
    for name, data in _files(side):
        peaks = []
        for need in NEED:
            # A process of its own for each, because peaks are never forgotten.
            with context.Pool(1) as pool:
                peaks.append(pool.apply(_peak, [need, data]))
        reserved = _reserved(data) / MIB
        is_enough &= max(peaks) <= reserved + TOLERANCE_MIB
        print(f"| {name} | {len(data) / MIB:.1f} | {peaks[0]:.0f} | {peaks[1]:.0f} | {reserved:.0f} |", flush=True)
    print("\nMiB; " + ", ".join(f"{key} {value}" for key, value in machine().items()))
    return 0 if is_enough else 1


def _peak(need: str, data: bytes) -> float:
    """MiB that a task adds to the resident memory of this process."""
    for warm_up in NEED.values():
        warm_up(small_jpeg())
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    NEED[need](data)
    return _status("VmHWM") - before


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _reserved(data: bytes) -> int:
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.decoding_bytes(data, VIEWED_SIDE)
    with open_image(BytesIO(data)) as image:
        return image.width * image.height * BYTES_PER_PIXEL[image.format]


def _files(side: int) -> Iterator[tuple[str, bytes]]:
    """The kinds of files that are decoded differently, without large uniform areas."""
    noise = Image.effect_noise((700, 700), 80).resize((side, side), Image.Resampling.NEAREST)
    colour, cmyk = noise.convert("RGB"), noise.convert("RGB").convert("CMYK")
    transparent = Image.merge("RGBA", [*colour.split(), noise])
    deep = Image.fromarray(np.asarray(noise).astype(np.uint16) * 257)
    kinds: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("JPEG", colour, "JPEG", {"subsampling": 0}),
        ("JPEG, progressive", colour, "JPEG", {"subsampling": 0, "progressive": True}),
        ("JPEG, CMYK, progressive", cmyk, "JPEG", {"progressive": True}),
        ("PNG", colour, "PNG", {"compress_level": 1}),
        ("PNG, transparent", transparent, "PNG", {"compress_level": 1}),
        ("PNG, grey and transparent", transparent.convert("LA"), "PNG", {"compress_level": 1}),
        ("PNG, palette", colour.quantize(64), "PNG", {"transparency": 3}),
        ("PNG, 16 bits", deep, "PNG", {"compress_level": 1}),
        ("GIF", colour.quantize(64), "GIF", {"transparency": 3}),
        ("BMP", noise, "BMP", {}),
        ("TIFF, CMYK", cmyk, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF, transparent", transparent, "TIFF", {"compression": "tiff_lzw"}),
        ("TIFF, 16 bits", deep, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF, floating point", noise.convert("F"), "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WebP", colour, "WEBP", {"quality": 50, "method": 0}),
        ("WebP, lossless", colour, "WEBP", {"lossless": True, "method": 0, "quality": 0}),
        ("WebP, transparent", transparent, "WEBP", {"quality": 50, "method": 0}),
        ("AVIF", colour, "AVIF", {"quality": 50, "speed": 10}),
        ("AVIF, transparent, 4:4:4", transparent, "AVIF", {"quality": 50, "speed": 10, "subsampling": "4:4:4"}),
        ("HEIC", colour, "HEIF", {"quality": 50}),
        ("HEIC, transparent", transparent, "HEIF", {"quality": 50}),
    ]
    for name, image, kind, options in kinds:
        yield name, encoded(image, kind, **options)


if __name__ == "__main__":
    sys.exit(main())
