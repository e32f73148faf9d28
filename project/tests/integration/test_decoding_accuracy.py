"""Accuracy of JPEGs decoded at reduced size: 40 labelled pictures, original and enlarged to 12 megapixels."""

import csv
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model
from app.images.jpeg import decode
from app.images.preprocessing import InputSpec
from tests.conftest import FALLBACK
from tests.pictures import encoded

pytestmark = pytest.mark.slow

MEGAPIXELS = 12_000_000


def enlarged(data: bytes) -> bytes:
    """The picture enlarged to 12 megapixels."""
    image = Image.open(BytesIO(data)).convert("RGB")
    factor = (MEGAPIXELS / (image.width * image.height)) ** 0.5
    size = round(image.width * factor), round(image.height * factor)
    return encoded(image.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90)


@pytest.fixture
def original(labelled_images: Path) -> list[tuple[bytes, str]]:
    """The labelled pictures as they are."""
    with (labelled_images / "labels.csv").open() as file:
        return [((labelled_images / row["file"]).read_bytes(), row["label"]) for row in csv.DictReader(file)]


@pytest.fixture
def large(original: list[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
    """The labelled pictures at 12 megapixels."""
    return [(enlarged(data), label) for data, label in original]


@pytest.mark.parametrize(("name", "size"), [("mobilenet_v2", "original"), (FALLBACK, "original"), (FALLBACK, "large")])
def test_accuracy_equals_that_of_full_decoding(
    name: str, size: str, all_models: Path, request: pytest.FixtureRequest
) -> None:
    if name == "mobilenet_v2":
        request.getfixturevalue("mobilenet_weights")
    classifier = Classifier(read_model(all_models / name), threads=1)
    pictures: list[tuple[bytes, str]] = request.getfixturevalue(size)
    right = right_in_full = changed = 0
    for data, label in pictures:
        # BMP has no reduced size: what Pillow decoded in full, pixel by pixel.
        full = classifier.classify(encoded(Image.open(BytesIO(data)).convert("RGB"), "BMP"))[0].label
        reduced = classifier.classify(data)[0].label
        right += reduced == label
        right_in_full += full == label
        changed += reduced != full
    assert len(pictures) == 40
    assert right >= right_in_full
    assert changed <= 1
    if size == "large":
        # Otherwise nothing was reduced, and nothing shown.
        assert min(decode(data, InputSpec().enough).shape[:2]) < 1000
