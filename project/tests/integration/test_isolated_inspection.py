"""Files other than JPEGs are inspected in processes of their own, with limits on time and memory."""

import asyncio

import httpx
import pytest
from PIL import Image

from app.classifier.engine import inspectors
from app.classifier.engine.inspectors import Inspectors
from app.classifier.engine.startup import engine_config
from app.config import Settings
from app.domain import NotAnImage
from app.images.metadata import strip_metadata
from tests.integration.conftest import limit, processes
from tests.pictures import encoded, jpeg, scene
from tests.processes import suspend
from tests.structures import avif, items

pytestmark = pytest.mark.process


async def inspect(inspectors: Inspectors, data: bytes) -> tuple[tuple[str, int, int], bytes]:
    info, stored = await inspectors.inspect(data, 10**8, keep=False)
    return (info.content_type, info.width, info.height), stored


async def test_processes_start_with_the_first_file(settings: Settings) -> None:
    pool = Inspectors(engine_config(settings, None), settings.max_upload_bytes, settings.max_image_pixels)
    png = encoded(scene(300, 200), "PNG")
    async with pool.running():
        assert processes() == []
        assert await inspect(pool, png) == (("image/png", 300, 200), strip_metadata(png, "image/png"))
        assert len(processes()) == 1
        results = await asyncio.gather(*(inspect(pool, encoded(scene(300 + n, 200), "WEBP")) for n in range(20)))
        assert [result[0] for result in results] == [("image/webp", 300 + n, 200) for n in range(20)]
        assert len(processes()) == inspectors.PROCESSES
        # The limit holds in the process itself.
        memory = inspectors.memory_limit(settings.max_upload_bytes, settings.max_image_pixels)
        assert {limit(one, "Max data size") for one in processes()} == {memory}
        # The largest file of the format that is copied most often.
        noise = Image.effect_noise((settings.max_upload_bytes // 3_000 - 10, 1_000), 50).convert("RGB")
        assert (await inspect(pool, encoded(noise, "TIFF")))[0][0] == "image/tiff"
    assert processes() == []


async def test_file_that_takes_too_long_is_refused_and_others_are_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process stands for a library that does not return."""
    monkeypatch.setattr(inspectors, "PROCESSES", 1)
    monkeypatch.setattr(inspectors, "INSPECT_SECONDS", 1.0)
    pool = Inspectors(engine_config(settings, None), settings.max_upload_bytes, settings.max_image_pixels)
    png = encoded(scene(300, 200), "PNG")
    async with asyncio.timeout(60), pool.running():
        await inspect(pool, png)
        (first,) = processes()
        suspend(first.pid)
        # It is killed, and the file is inspected by the next one.
        assert (await inspect(pool, png))[0] == ("image/png", 300, 200)
        assert not first.is_running()

        # No process is ever fast enough.
        monkeypatch.setattr(inspectors, "INSPECT_SECONDS", 0.0)
        with pytest.raises(NotAnImage):
            await inspect(pool, png)
        monkeypatch.undo()
        assert (await inspect(pool, png))[0] == ("image/png", 300, 200)


async def test_no_other_file_is_parsed_by_the_service_itself(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a library parsed a file in the service's own process")

    monkeypatch.setattr("PIL.Image.open", refuse)
    for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"):
        answer = await client.post("/predictions/", files={"file": encoded(scene(300, 200), kind)})
        assert answer.status_code == 201, kind
        assert answer.json()["width"] == 300
    assert (await client.post("/predictions/", files={"file": jpeg()})).status_code == 201
    answer = await client.post("/predictions/", files={"file": avif(items(60_000))})
    assert answer.status_code == 400
    assert answer.json()["code"] == "not_an_image"
