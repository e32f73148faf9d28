"""Batches: each image is accepted or rejected on its own, and memory stays small."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Iterable
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from app.api import batch_body, batch_uploads
from app.config import Settings
from app.db.connection import execute
from app.domain import ArchiveRefused
from app.uploads import zip_stream
from app.uploads.zip_stream import ArchiveLimits, ZipUnpacker
from tests.integration.conftest import serving, uploaded_files
from tests.pictures import encoded, jpeg, scene

pytestmark = pytest.mark.process

ZIP = {"Content-Type": "application/zip"}


def zipped(files: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def pictures(count: int) -> list[tuple[str, bytes]]:
    return [(f"{number}.jpg", jpeg(300 + number)) for number in range(count)]


async def post_files(client: httpx.AsyncClient, files: list[tuple[str, bytes]], **more: Any) -> httpx.Response:
    return await client.post("/predictions/batch", files=[("file", file) for file in files], **more)


async def finished(client: httpx.AsyncClient, prediction_id: int) -> dict[str, Any]:
    answer = await client.get(f"/predictions/{prediction_id}/?wait=20")
    found = answer.json()
    assert isinstance(found, dict)
    return found


async def test_each_file_of_a_form_is_a_prediction(client: httpx.AsyncClient) -> None:
    answer = await post_files(client, pictures(5))
    assert answer.status_code == 200
    batch = answer.json()
    assert batch["accepted"] == 5
    assert batch["refused"] == 0
    assert batch["error"] is None
    for number, item in enumerate(batch["items"]):
        assert item["number"] == number + 1
        assert item["filename"] == f"{number}.jpg"
        assert item["status"] == 201
        row = await finished(client, item["prediction"]["id"])
        assert row["status"] == "succeeded"
        assert row["width"] == 300 + number
        assert row["filename"] == f"{number}.jpg"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("in_form", [True, False])
async def test_each_file_of_a_zip_is_a_prediction(
    client: httpx.AsyncClient, compression: int, *, in_form: bool
) -> None:
    hidden = [("__MACOSX/a/._0.jpg", b"x"), ("a/.DS_Store", b"x"), ("a/", b"")]
    data = zipped([*hidden, *((f"a/{name}", data) for name, data in pictures(3))], compression)
    if in_form:
        batch = (await post_files(client, [("first.jpg", jpeg()), ("all.zip", data)])).json()
        assert batch["items"].pop(0)["filename"] == "first.jpg"
    else:
        batch = (await client.post("/predictions/batch/", content=data, headers=ZIP)).json()
    assert [item["filename"] for item in batch["items"]] == ["a/0.jpg", "a/1.jpg", "a/2.jpg"]
    assert {(await finished(client, item["prediction"]["id"]))["status"] for item in batch["items"]} == {"succeeded"}


async def test_each_image_is_rejected_on_its_own(settings: Settings) -> None:
    limited = settings.model_copy(update={"max_upload_bytes": 100_000, "max_image_pixels": 1_000_000})
    files = [
        ("good.jpg", jpeg()),
        ("notes.txt", b"no picture"),
        ("empty.jpg", b""),
        ("large.bin", bytes(100_001)),
        ("wide.png", encoded(scene(1001, 1000).convert("1"), "PNG")),
        ("../../also good.jpg", jpeg(500)),
    ]
    async with serving(limited) as client:
        of_form = (await post_files(client, files)).json()
        of_zip = (await client.post("/predictions/batch", content=zipped(files), headers=ZIP)).json()
        for batch in (of_form, of_zip):
            assert [item["status"] for item in batch["items"]] == [201, 400, 400, 413, 413, 201]
            assert batch["accepted"] == 2
            assert batch["refused"] == 4
            assert batch["error"] is None
            assert [item["error"] and item["error"]["code"] for item in batch["items"]] == [
                None, "not_an_image", "not_an_image", "upload_too_large", "image_too_large", None,
            ]  # fmt: skip
            assert all((item["prediction"] is None) == (item["error"] is not None) for item in batch["items"])
        assert of_zip["items"][5]["filename"] == "../../also good.jpg"
        assert len(uploaded_files(limited)) == 4


@pytest.mark.all_models
async def test_field_applies_to_the_files_after_it(client: httpx.AsyncClient) -> None:
    answer = await post_files(client, pictures(2), data={"model": "mobilenet_v2"})
    assert [item["prediction"]["model"] for item in answer.json()["items"]] == ["mobilenet_v2"] * 2
    answer = await post_files(client, pictures(1), data={"model": "nonsense"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "model"]
    answer = await client.post("/predictions/batch?model=nonsense", content=zipped(pictures(1)), headers=ZIP)
    assert answer.status_code == 422
    answer = await post_files(client, pictures(1), data={"webhook_url": "https://example.com/"})
    assert "WEBHOOK_SECRET" in answer.json()["detail"][0]["msg"]


async def test_batch_without_images_is_rejected(client: httpx.AsyncClient) -> None:
    for content, kind, status in [
        (b"", "application/zip", 400),
        (zipped([]), "application/zip", 400),
        (b"PK\x03\x04 and nonsense" * 9, "application/zip", 400),
        (jpeg(), "image/jpeg", 415),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 400),
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"nonsense", "multipart/form-data", 400),
        (b"{}", "application/json", 415),
    ]:
        answer = await client.post("/predictions/batch", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status, (content, kind)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


async def test_damaged_zip_keeps_earlier_images(client: httpx.AsyncClient) -> None:
    data = zipped(pictures(4), zipfile.ZIP_STORED)
    for damaged, message in [
        (data[: len(data) // 2], "The ZIP file is incomplete."),
        (data.replace(pictures(4)[2][1][-100:], bytes(100)), "The ZIP file is damaged."),
    ]:
        batch = (await client.post("/predictions/batch", content=damaged, headers=ZIP)).json()
        assert 1 <= batch["accepted"] < 4
        assert batch["error"] == {"code": "archive_refused", "message": message}
        assert {item["status"] for item in batch["items"]} == {201}


async def test_damaged_zip_in_a_form_does_not_affect_other_files(client: httpx.AsyncClient) -> None:
    damaged = zipped(pictures(2), zipfile.ZIP_STORED)[:-9000]
    files = [("a.jpg", jpeg()), ("bad.zip", damaged), ("worse.zip", b"PK\x03\x04nonsense"), ("b.jpg", jpeg(555))]
    batch = (await post_files(client, files)).json()
    message = [(item["filename"], item["status"], item["error"] and item["error"]["code"]) for item in batch["items"]]
    assert message[0] == ("a.jpg", 201, None)
    assert message[-3:] == [
        ("bad.zip", 400, "archive_refused"),
        ("worse.zip", 400, "archive_refused"),
        ("b.jpg", 201, None),
    ]
    assert batch["error"] is None


async def test_encrypted_zip_is_reported(client: httpx.AsyncClient) -> None:
    data = bytearray(zipped(pictures(1)))
    data[6] |= 1  # the bit of encryption (APPNOTE 4.4.4)
    answer = await client.post("/predictions/batch", content=bytes(data), headers=ZIP)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "The ZIP file is encrypted: remove its password."


async def test_only_common_compression_methods_are_unpacked(client: httpx.AsyncClient) -> None:
    """Deflate64 (9) would be unpacked by Python code, which takes seconds for a small file."""
    for method in (1, 6, 9, 14, 93, 95, 97, 98):
        data = bytearray(zipped(pictures(1)))
        data[8:10] = method.to_bytes(2, "little")  # in the local header (APPNOTE 4.4.5)
        answer = await client.post("/predictions/batch", content=bytes(data), headers=ZIP)
        assert answer.status_code == 400, method
        assert answer.json()["detail"] == "The ZIP file uses an unsupported compression method: use Deflate."


async def test_number_of_images_is_limited(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"max_batch_images": 3})) as client:
        of_form = (await post_files(client, pictures(5))).json()
        of_zip = (await client.post("/predictions/batch", content=zipped(pictures(5)), headers=ZIP)).json()
        assert of_form["accepted"] == 3
        assert of_form["error"]["code"] == "upload_too_large"
        assert of_zip["accepted"] == 3
        assert of_zip["error"]["code"] == "archive_refused"
        assert await execute("SELECT count(*) FROM predictions") == [{"count": 6}]


async def test_size_of_a_batch_is_limited(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"max_batch_bytes": 200_000})) as client:
        answer = await client.post("/predictions/batch", content=bytes(200_001), headers=ZIP)
        assert answer.status_code == 413
        assert answer.json()["code"] == "upload_too_large"
        bitmaps = [(f"{number}.bmp", encoded(scene().convert("P"), "BMP")) for number in range(3)]
        batch = (await client.post("/predictions/batch", content=zipped(bitmaps), headers=ZIP)).json()
        assert batch["accepted"] == 1
        assert batch["error"]["message"] == "The ZIP file unpacks to more than 200000 bytes."


async def test_zip_bomb_is_not_unpacked(client: httpx.AsyncClient) -> None:
    bomb = zipped((f"{number}.jpg", bytes(15 * 2**20)) for number in range(20))
    assert len(bomb) < 2**19
    batch = (await client.post("/predictions/batch", content=bomb, headers=ZIP)).json()
    assert batch["accepted"] == 0
    assert batch["error"]["message"] == "The ZIP file unpacks to more than 100 times its size."
    assert len(batch["items"]) < 10


async def test_repeated_batch_with_the_same_key_stores_nothing_twice(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    key = {"Idempotency-Key": "one"}
    first = (await post_files(client, pictures(3), headers=key)).json()
    again = (await post_files(client, pictures(4), headers=key)).json()
    assert [item["prediction"]["id"] for item in again["items"][:3]] == [
        item["prediction"]["id"] for item in first["items"]
    ]
    assert again["items"][3]["status"] == 201
    assert len(uploaded_files(settings)) == 4
    await client.delete(f"/predictions/{first['items'][0]['prediction']['id']}/")
    third = (await post_files(client, pictures(1), headers=key)).json()
    assert third["items"][0]["prediction"] == first["items"][0]["prediction"]
    others = (await post_files(client, pictures(4)[::-1], headers=key)).json()
    assert [item["status"] for item in others["items"]] == [422] * 4
    assert others["items"][0]["error"]["code"] == "idempotency_key_reused"
    # Deleted since, and answered by a version without a field: its response is repeated as it was.
    await client.delete(f"/predictions/{first['items'][0]['prediction']['id']}/")
    await execute("UPDATE idempotency_keys SET answer = (answer::jsonb - 'calibrated_confidence')::text")
    third = (await post_files(client, pictures(3), headers=key)).json()
    assert third["items"][0]["prediction"]["filename"] == first["items"][0]["prediction"]["filename"]
    long = await post_files(client, pictures(1), headers={"Idempotency-Key": "x" * 201})
    assert long.status_code == 422


async def test_images_above_the_backlog_are_rejected_individually(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"max_pending": 4, "recover_seconds": 600})) as client:
        with patch("app.worker.worker.Worker.start"):
            batch = (await post_files(client, pictures(6))).json()
            assert sorted(item["status"] for item in batch["items"]) == [201] * 4 + [503] * 2
            refused = await post_files(client, pictures(1))
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0


async def test_silent_client_gets_408(client: httpx.AsyncClient) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield head + jpeg() + b"\r\n" + head + b"half"
        await never.wait()

    sending = {"content": body(), "headers": {"Content-Type": "multipart/form-data; boundary=x"}}
    with patch.object(batch_body, "RECEIVE_SECONDS", 0.5):
        batch = (await client.post("/predictions/batch", **sending)).json()  # type: ignore[arg-type]
    assert batch["accepted"] == 1
    assert batch["error"]["message"] == "The batch arrives too slowly: send at least 64 KiB per second."


async def test_batch_of_unknown_length_is_limited_and_keeps_earlier_images(settings: Settings) -> None:
    async def body() -> AsyncIterator[bytes]:
        for name, data in pictures(50):
            head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
            yield head.encode() + data + b"\r\n"

    async with serving(settings.model_copy(update={"max_batch_bytes": 100_000})) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = await client.post("/predictions/batch", content=body(), headers=headers)
    assert answer.status_code == 200
    assert answer.json()["accepted"] > 1
    assert answer.json()["error"] == {"code": "upload_too_large", "message": "The upload is larger than 100000 bytes."}


async def test_queued_batch_is_not_treated_as_slow_and_gets_503_in_time(client: httpx.AsyncClient) -> None:
    first_came, released = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield zipped(pictures(1))[:100]
        first_came.set()
        await released.wait()

    with patch.object(batch_uploads, "IMAGES_IN_MEMORY", 1_000):  # of which there is room for one
        first = asyncio.create_task(client.post("/predictions/batch", content=body(), headers=ZIP))
        await first_came.wait()
        with patch.object(batch_uploads, "MAX_QUEUE_SECONDS", 0.1):
            refused = await post_files(client, pictures(1))
        assert refused.status_code == 503
        assert refused.json()["code"] == "overloaded"
        assert int(refused.headers["Retry-After"]) > 0
        with patch.object(batch_body, "RECEIVE_SECONDS", 0.5):
            second = asyncio.create_task(post_files(client, pictures(2)))
            # Longer than an upload may take; none of it is its own.
            done, _ = await asyncio.wait([second], timeout=1)
            assert not done
            released.set()
            assert (await second).json()["accepted"] == 2
        assert (await first).status_code == 400


async def test_disconnected_client_frees_its_thread(client: httpx.AsyncClient) -> None:
    came = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield zipped(pictures(3), zipfile.ZIP_STORED)[:20_000]
        came.set()
        await asyncio.Event().wait()

    for _ in range(zip_stream.THREADS + 2):
        came.clear()
        leaving = asyncio.create_task(client.post("/predictions/batch", content=body(), headers=ZIP))
        await came.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
    batch = (await client.post("/predictions/batch", content=zipped(pictures(2)), headers=ZIP)).json()
    assert batch["accepted"] == 2


async def test_limits_apply_to_all_archives_of_a_batch_together(client: httpx.AsyncClient) -> None:
    small_bomb = zipped([("a.jpg", bytes(15 * 2**20))])
    batch = (await post_files(client, [("a.zip", small_bomb)] * 20)).json()
    message = [item["error"]["message"] for item in batch["items"]]
    assert message[-1] == "The ZIP file unpacks to more than 100 times its size."
    assert message.count("File must be an image") < 10


async def test_archive_is_read_only_on_request() -> None:
    data = zipped(pictures(50), zipfile.ZIP_STORED)
    given = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal given
        for start in range(0, len(data), 1000):
            given += 1000
            yield data[start : start + 1000]

    entries = ZipUnpacker().unpack(chunks(), 2**20, ArchiveLimits(100, 2**30))
    first = await anext(entries)
    assert (first.name, first.data) == pictures(1)[0]
    assert given < 50_000
    await entries.aclose()


async def test_skipped_files_count_towards_the_limit() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield zipped((f".{number}", b"") for number in range(9))

    with pytest.raises(ArchiveRefused, match="more than 5 files"):
        await anext(ZipUnpacker().unpack(chunks(), 2**20, ArchiveLimits(5, 2**30)))


def test_legacy_file_names_are_decoded() -> None:
    assert zip_stream._decode_name("Käse.jpg".encode("cp437")) == "Käse.jpg"
    assert zip_stream._decode_name("Käse.jpg".encode()) == "Käse.jpg"
