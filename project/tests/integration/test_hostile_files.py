"""The corpus of malformed files: each is rejected, fails or is classified; nothing crashes, hangs or grows."""

import os
import time
import zipfile
from io import BytesIO
from pathlib import Path

import psutil
import pytest

from app.config import Settings
from app.domain import ImageTooLarge, ImageUnreadable, NotAnImage
from app.images.inspection import inspect
from app.images.preprocessing import to_tensor
from tests.corpus import corpus
from tests.integration.conftest import serving, uploaded_files

pytestmark = pytest.mark.process

PIXELS = 50_000_000
MOST_SECONDS = 10.0
"""Far more than any of them takes here: what hangs is found, a busy machine is not."""
MOST_GROWTH = 400 * 2**20
"""The largest image that is accepted has 50 million pixels, of 8 bytes."""


def test_each_file_is_decoded_or_rejected() -> None:
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    outcomes: dict[str, int] = {}
    for name, data in corpus():
        began = time.monotonic()
        try:
            inspect(data, PIXELS)
            outcome = "tensor" if to_tensor(data).shape == (224, 224, 3) else "other"
        except (NotAnImage, ImageTooLarge, ImageUnreadable) as error:
            outcome = type(error).__name__
        assert time.monotonic() - began < MOST_SECONDS, name
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes.keys() == {"tensor", "NotAnImage", "ImageTooLarge", "ImageUnreadable"}
    assert min(outcomes.values()) > 2
    assert process.memory_info().rss - before < MOST_GROWTH


@pytest.mark.parametrize("as_zip", [False, True])
async def test_each_upload_gets_a_response_and_an_outcome(
    settings: Settings, caplog: pytest.LogCaptureFixture, *, as_zip: bool
) -> None:
    files = list(corpus())
    assert len(files) > 200
    async with serving(settings) as client:
        if as_zip:
            archive = BytesIO()
            with zipfile.ZipFile(archive, "w") as packed:
                for name, data in files:
                    packed.writestr(f"../{name}", data)
            headers = {"Content-Type": "application/zip"}
            answer = await client.post("/predictions/batch", content=archive.getvalue(), headers=headers)
        else:
            parts = [("file", (f"{name}.exe", data)) for name, data in files]
            answer = await client.post("/predictions/batch", files=parts)
        assert answer.status_code == 200, answer.text[:500]
        items = answer.json()["items"]
        assert len(items) == len(files)
        assert {item["status"] for item in items} == {201, 400, 413}
        for item in items:
            if item["prediction"]:
                path = f"/predictions/{item['prediction']['id']}"
                row = (await client.get(f"{path}/?wait=60")).json()
                assert row["status"] in {"succeeded", "failed"}, item["filename"]
                assert row["status"] == "succeeded" or row["error"]["code"] == "image_unreadable", item["filename"]
                shown = await client.get(f"{path}/image")
                assert shown.status_code in {200, 404}, item["filename"]
        # The process that decodes them is the one that was there before.
        assert " died " not in caplog.text
        stored = uploaded_files(settings)
        assert len(stored) == sum(item["status"] == 201 for item in items)
        assert all(Path(file).is_relative_to(settings.uploads) for file in stored)
