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


@pytest.mark.parametrize("large", [False, True], ids=["as they are", "12 megapixels"])
@pytest.mark.parametrize("name", ["mobilenet_v2", FALLBACK])
def test_accuracy_equals_that_of_full_decoding(
    name: str, all_models: Path, labelled_images: Path, request: pytest.FixtureRequest, *, large: bool
) -> None:
    if name == "mobilenet_v2":
        request.getfixturevalue("mobilenet_weights")
    classifier = Classifier(read_model(all_models / name), threads=1)
    with (labelled_images / "labels.csv").open() as file:
        expected = {row["file"]: row["label"] for row in csv.DictReader(file)}
    right = right_in_full = changed = 0
    for picture, label in expected.items():
        data = (labelled_images / picture).read_bytes()
        data = enlarged(data) if large else data
        # BMP has no reduced size: what Pillow decoded in full, pixel by pixel.
        full = classifier.classify(encoded(Image.open(BytesIO(data)).convert("RGB"), "BMP"))[0].label
        reduced = classifier.classify(data)[0].label
        right += reduced == label
        right_in_full += full == label
        changed += reduced != full
    assert len(expected) == 40
    assert right >= right_in_full
    assert changed <= 1
    if large:
        # Otherwise nothing was reduced, and nothing shown.
        assert min(decode(data, InputSpec().enough).shape[:2]) < 1000
