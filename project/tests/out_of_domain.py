"""Images that are no photographs: noise, documents, screenshots, drawings and plain colours."""

import random
import string
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.pictures import encoded

KINDS: Final = ("noise", "document", "screenshot", "drawing", "plain")
SIZES: Final = ((640, 480), (800, 600), (600, 800), (1024, 768))


def out_of_domain(seed: int) -> bytes:
    """A JPEG; the kind follows from the seed, and so does everything else."""
    chance = random.Random(seed)  # noqa: S311 - pictures, no secrets
    draw = (_noise, _document, _screenshot, _drawing, _plain)[seed % len(KINDS)]
    return encoded(draw(chance, chance.choice(SIZES)), "JPEG", quality=90)


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 10)))


def _noise(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    """From pixel to pixel, or coarser, with hard or soft transitions."""
    width, height = size
    grain = chance.choice((1, 4, 16, 64))
    levels = np.random.default_rng(chance.randrange(2**32)).integers(
        0, 256, (height // grain, width // grain, 3), dtype=np.uint8
    )
    if chance.random() < 0.3:
        levels = np.repeat(levels[:, :, :1], 3, axis=2)
    return Image.fromarray(levels).resize(size, chance.choice((Image.Resampling.NEAREST, Image.Resampling.BICUBIC)))


def _document(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, chance.choice(("white", "#fdfbf5", "#f4f4f4")))
    drawing, points = ImageDraw.Draw(image), chance.choice((12, 14, 18, 24))
    font, top = ImageFont.load_default(points), chance.randint(20, 60)
    while top < height - 30:
        line = " ".join(_word(chance) for _ in range(chance.randint(3, 16)))
        drawing.text((chance.choice((30, 30, 30, 60)), top), line, fill="black", font=font)
        top += int(points * 1.5) * (2 if chance.random() < 0.15 else 1)
    if chance.random() < 0.5:
        drawing.rectangle((30, height // 2, width - 30, height // 2 + chance.randint(40, 120)), outline="black")
    return image


def _screenshot(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, chance.choice(("#f0f0f0", "#1e1e1e", "#ffffff", "#e7ecf3")))
    drawing, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    drawing.rectangle((0, 0, width, 34), fill=chance.choice(("#2b579a", "#333333", "#dddddd")))
    drawing.text((10, 8), "File  Edit  View  Help", fill="white", font=font)
    for _ in range(chance.randint(5, 25)):
        x, y = chance.randint(0, width - 80), chance.randint(40, height - 40)
        box = (x, y, x + chance.randint(40, 240), y + chance.randint(16, 120))
        drawing.rounded_rectangle(box, 4, fill=_colour(chance), outline="#999999")
        drawing.text((x + 6, y + 4), _word(chance), fill=chance.choice(("black", "white")), font=font)
    return image


def _drawing(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, "white")
    drawing = ImageDraw.Draw(image)

    def point() -> tuple[int, int]:
        return chance.randint(0, width), chance.randint(0, height)

    for _ in range(chance.randint(3, 14)):
        colour, shape = _colour(chance), chance.randrange(4)
        if shape == 0:
            drawing.line([point() for _ in range(chance.randint(2, 6))], colour, chance.randint(1, 12), joint="curve")
        elif shape == 1:
            drawing.polygon([point() for _ in range(5)], outline=colour, fill=chance.choice((colour, None)))
        else:
            (x, y), radius = point(), chance.randint(20, 200)
            outline = drawing.ellipse if shape == 2 else drawing.rectangle
            outline((x - radius, y - radius, x + radius, y + radius), chance.choice((colour, None)), colour, 4)
    return image


def _plain(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    """One colour, or a gradient."""
    first = _colour(chance)
    second = chance.choice((first, _colour(chance)))
    corners = Image.new("RGB", (2, 1))
    corners.putdata([first, second])
    return corners.rotate(chance.choice((0, 90)), expand=True).resize(size, Image.Resampling.BILINEAR)
