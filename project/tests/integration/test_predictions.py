"""The contract of /predictions, on the real application."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.classifier import Classifier
from app.config import Settings
from app.domain import LabelScore
from tests.integration.conftest import Upload
from tests.pictures import bomb, encoded, jpeg, scene, turned

FIELDS = {
    *("id", "filename", "image_path", "content_type", "size_bytes", "width", "height", "sha256", "status"),
    *("top_prediction", "confidence", "all_predictions", "model", "model_version", "error", "attempts"),
    *("created_at", "started_at", "completed_at", "corrected_at"),
}
PROBLEM = "application/problem+json"
Tensor = NDArray[np.float32]


def uploaded_files(settings: Settings) -> list[Path]:
    return [path for path in settings.uploads.rglob("*") if path.is_file()]


async def test_an_upload_is_answered_pending_and_classified(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    data = encoded(scene(400, 300), "JPEG", exif=turned(6))
    response = await upload(data, "cat.png")
    assert response.status_code == 201
    accepted = response.json()
    assert accepted.keys() == FIELDS
    assert (accepted["status"], accepted["filename"], accepted["attempts"]) == ("pending", "cat.png", 0)
    assert accepted["top_prediction"] is accepted["all_predictions"] is accepted["completed_at"] is None
    assert response.headers["location"] == f"/predictions/{accepted['id']}/"

    done = (await client.get(response.headers["location"])).json()
    assert done.keys() == FIELDS
    assert (done["status"], done["attempts"], done["error"], done["corrected_at"]) == ("succeeded", 1, None, None)
    assert (done["content_type"], done["width"], done["height"]) == ("image/jpeg", 300, 400)
    assert (done["size_bytes"], done["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert done["model"] == settings.model
    confidences = [answer["confidence"] for answer in done["all_predictions"]]
    assert len(confidences) == 5
    assert confidences == sorted(confidences, reverse=True)
    assert 0 < sum(confidences) <= 1
    assert done["all_predictions"][0] == {"label": done["top_prediction"], "confidence": done["confidence"]}
    times = [datetime.fromisoformat(done[name]) for name in ("created_at", "started_at", "completed_at")]
    assert times == sorted(times)
    assert times[0].utcoffset() == timedelta(0)
    assert (settings.uploads / done["image_path"]).read_bytes() == data


@pytest.mark.parametrize("path", ["/predictions", "/predictions/"])
async def test_an_upload_is_answered_on_both_paths_without_a_redirect(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, files={"file": ("a.jpg", jpeg())})
    assert response.status_code == 201
    for slash in ("", "/"):
        one = await client.get(f"/predictions/{response.json()['id']}{slash}")
        assert one.status_code == 200


async def test_prefer_wait_brings_the_result_in_the_answer(upload: Upload) -> None:
    response = await upload(jpeg(), Prefer="wait=30")
    assert response.status_code == 201
    assert response.headers["preference-applied"] == "wait=30"
    assert response.json()["status"] == "succeeded"
    assert response.json()["all_predictions"]


async def test_prefer_wait_is_capped(upload: Upload, settings: Settings) -> None:
    response = await upload(jpeg(), Prefer="wait=100000")
    assert response.headers["preference-applied"] == f"wait={settings.max_wait_seconds}"


@pytest.mark.parametrize("seconds", [0, 1])
async def test_what_takes_longer_than_the_wait_is_answered_unfinished(
    client: httpx.AsyncClient, upload: Upload, seconds: int
) -> None:
    answered = threading.Event()
    real = Classifier.classify

    def not_before_the_answer(classifier: Classifier, tensor: Tensor) -> list[LabelScore]:
        assert answered.wait(30)
        return real(classifier, tensor)

    with patch.object(Classifier, "classify", not_before_the_answer):
        response = await upload(jpeg(), Prefer=f"wait={seconds}")
        assert response.status_code == 201
        assert response.headers["preference-applied"] == f"wait={seconds}"
        assert response.json()["status"] in {"pending", "processing"}
        answered.set()
        async with asyncio.timeout(30):
            while (await client.get(response.headers["location"])).json()["status"] != "succeeded":
                await asyncio.sleep(0.01)


async def test_prefer_may_come_in_several_lines(client: httpx.AsyncClient) -> None:
    headers = [("Prefer", "handling=lenient"), ("Prefer", "wait=30")]
    response = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers=headers)
    assert response.json()["status"] == "succeeded"


async def test_the_model_may_be_named(client: httpx.AsyncClient, settings: Settings) -> None:
    files = {"file": ("a.jpg", jpeg())}
    named = await client.post("/predictions/", files=files, data={"model": settings.model})
    assert named.status_code == 201
    empty = await client.post("/predictions/", files=files, data={"model": ""})
    assert empty.status_code == 201
    unknown = await client.post("/predictions/", files=files, data={"model": "resnet"})
    assert unknown.status_code == 422
    assert unknown.json()["detail"][0]["loc"] == ["body", "model"]
    assert settings.model in unknown.json()["detail"][0]["msg"]


async def test_pages_are_newest_first_and_complete(client: httpx.AsyncClient, upload: Upload) -> None:
    assert (await client.get("/predictions/")).json() == []
    ids = [(await upload(jpeg())).json()["id"] for _ in range(5)]
    seen: list[int] = []
    url: str | None = "/predictions/?limit=2&status=succeeded"
    pages = 0
    while url:
        page = await client.get(url)
        assert page.status_code == 200
        seen += [row["id"] for row in page.json()]
        # Rows that come meanwhile do not shift the pages behind.
        if pages == 0:
            await upload(jpeg())
        pages += 1
        url = page.links.get("next", {}).get("url")
    assert (seen, pages) == (ids[::-1], 3)


async def test_predictions_are_filtered_by_status(client: httpx.AsyncClient, upload: Upload) -> None:
    good = (await upload(jpeg())).json()["id"]
    bad = (await upload(jpeg()[:2000])).json()["id"]
    for status, ids in {"succeeded": [good], "failed": [bad], "pending": [], "processing": []}.items():
        answer = await client.get("/predictions", params={"status": status})
        assert [row["id"] for row in answer.json()] == ids


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "cursor=forged", "cursor=", "status=done", "status="]
)
async def test_a_wrong_query_is_422(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/predictions/?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.split("=", maxsplit=1)[0]]


async def test_a_correction_keeps_the_models_answer(client: httpx.AsyncClient, upload: Upload) -> None:
    id = (await upload(jpeg())).json()["id"]
    before = (await client.get(f"/predictions/{id}/")).json()
    answer = await client.put(f"/predictions/{id}/", json={"top_prediction": "my cat", "confidence": 1})
    assert answer.status_code == 200
    after = answer.json()
    assert (after["top_prediction"], after["confidence"]) == ("my cat", 1.0)
    assert after["corrected_at"] is not None
    assert after["all_predictions"] == before["all_predictions"]
    assert (await client.get(f"/predictions/{id}/")).json() == after


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"top_prediction": 5, "confidence": 0.5}', "top_prediction"),
        ('{"top_prediction": null, "confidence": 0.5}', "top_prediction"),
        ('{"top_prediction": "", "confidence": 0.5}', "top_prediction"),
        ('{"top_prediction": "  ", "confidence": 0.5}', "top_prediction"),
        ('{"top_prediction": "a\\u0000b", "confidence": 0.5}', "top_prediction"),
        ('{"top_prediction": "\\ud800", "confidence": 0.5}', "top_prediction"),
        ('{"top_prediction": "' + "x" * 256 + '", "confidence": 0.5}', "top_prediction"),
        ('{"confidence": 0.5}', "top_prediction"),
        ('{"top_prediction": "cat"}', "confidence"),
        ('{"top_prediction": "cat", "confidence": "high"}', "confidence"),
        ('{"top_prediction": "cat", "confidence": "0.5"}', "confidence"),
        ('{"top_prediction": "cat", "confidence": true}', "confidence"),
        ('{"top_prediction": "cat", "confidence": 1.01}', "confidence"),
        ('{"top_prediction": "cat", "confidence": -0.01}', "confidence"),
        ('{"top_prediction": "cat", "confidence": NaN}', "confidence"),
        ('{"top_prediction": "cat", "confidence": Infinity}', "confidence"),
        ('{"top_prediction": "cat", "confidence": 1e999}', "confidence"),
        ("[]", None),
        ("null", None),
        ("", None),
        ("{", 1),
    ],
)
async def test_a_wrong_correction_is_422_and_changes_nothing(
    client: httpx.AsyncClient, upload: Upload, body: str, field: str | int | None
) -> None:
    id = (await upload(jpeg())).json()["id"]
    before = (await client.get(f"/predictions/{id}/")).json()
    answer = await client.put(f"/predictions/{id}/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == (["body", field] if field is not None else ["body"])
    assert (await client.get(f"/predictions/{id}/")).json() == before


async def test_a_deleted_prediction_is_gone_with_its_image(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    id = (await upload(jpeg(), "cat.jpg")).json()["id"]
    assert len(uploaded_files(settings)) == 1
    answer = await client.delete(f"/predictions/{id}")
    assert (answer.status_code, answer.json()) == (200, {"id": id, "filename": "cat.jpg"})
    assert uploaded_files(settings) == []
    for call in (client.delete, client.get):
        assert (await call(f"/predictions/{id}/")).status_code == 404


@pytest.mark.parametrize("id", [0, -1, "x", "1.5", "1.0", "+1", "1_0", " 1", "1e3", " ", "0x1", "٣", "9" * 5000])
async def test_an_id_that_is_no_positive_integer_is_422(client: httpx.AsyncClient, id: str | int) -> None:
    for call in ("GET", "PUT", "DELETE"):
        answer = await client.request(call, f"/predictions/{id}/", json={"top_prediction": "x", "confidence": 1})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["path", "id"]


@pytest.mark.parametrize("id", [1, 2**31, 2**63 - 1, 2**63, 2**100])
async def test_an_unknown_id_is_404(client: httpx.AsyncClient, id: int) -> None:
    for call in ("GET", "PUT", "DELETE"):
        answer = await client.request(call, f"/predictions/{id}/", json={"top_prediction": "x", "confidence": 1})
        assert answer.status_code == 404
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["detail"] == "Prediction not found"


@pytest.mark.parametrize(
    "data",
    [b"", b"I am a text that was named .jpg", b"%PDF-1.7", jpeg()[:10], b"<svg xmlns='http://www.w3.org/2000/svg'/>"],
    ids=["empty", "text", "pdf", "header only", "svg"],
)
async def test_what_is_no_image_is_400_and_leaves_nothing(
    client: httpx.AsyncClient, upload: Upload, settings: Settings, data: bytes
) -> None:
    answer = await upload(data, "cat.jpg")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "File must be an image",
        "code": "not_an_image",
    }
    assert (await client.get("/predictions/")).json() == []
    assert uploaded_files(settings) == []


async def test_a_truncated_image_fails_with_a_code_and_no_label(client: httpx.AsyncClient, upload: Upload) -> None:
    data = jpeg()
    id = (await upload(data[: len(data) // 2])).json()["id"]
    failed = (await client.get(f"/predictions/{id}/")).json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "image_unreadable")
    assert failed["top_prediction"] is failed["confidence"] is failed["all_predictions"] is None
    assert failed["completed_at"] is not None


async def test_a_failed_prediction_can_be_corrected(client: httpx.AsyncClient, upload: Upload) -> None:
    id = (await upload(jpeg()[:2000])).json()["id"]
    answer = await client.put(f"/predictions/{id}/", json={"top_prediction": "cat", "confidence": 1.0})
    assert (answer.json()["status"], answer.json()["top_prediction"]) == ("failed", "cat")


async def test_a_decompression_bomb_is_413(upload: Upload, settings: Settings) -> None:
    answer = await upload(bomb(), "small.png")
    assert answer.status_code == 413
    assert answer.headers["content-type"] == PROBLEM
    assert "30000 x 30000 pixels" in answer.json()["detail"]
    assert uploaded_files(settings) == []


async def test_no_file_is_422(client: httpx.AsyncClient) -> None:
    for arguments in ({}, {"data": {"file": "a text field"}}, {"files": {"picture": ("a.jpg", jpeg())}}):
        answer = await client.post("/predictions/", **arguments)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "file"]
        assert "curl -F file=@" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize(
    ("disposition", "shown"),
    [
        (b'filename="../../etc/passwd"', "../../etc/passwd"),
        (b'filename="..\\\\..\\\\boot.ini"', "..\\..\\boot.ini"),
        (b'filename="' + b"n" * 300 + b'.jpg"', "n" * 255),
        (b'filename="<script>alert(1)</script>.jpg"', "<script>alert(1)</script>.jpg"),
        ('filename="猫.jpg"'.encode(), "猫.jpg"),
        (b'filename=""', "unnamed"),
        (b'filename="\xff\xfe.jpg"', None),
        (b'filename="a\x00b.jpg"', None),
    ],
)
async def test_odd_file_names_are_only_shown(
    client: httpx.AsyncClient, settings: Settings, disposition: bytes, shown: str | None
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\n"
    answer = await client.post(
        "/predictions/",
        content=head + jpeg() + b"\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    if answer.status_code == 400:
        # A NUL in a header is no valid multipart; the answer says so.
        assert shown is None
        assert "multipart" in answer.json()["detail"].lower()
        return
    assert answer.status_code == 201
    row = (await client.get(f"/predictions/{answer.json()['id']}/")).json()
    assert row["status"] == "succeeded"
    if shown is not None:
        assert row["filename"] == shown
    assert "\x00" not in row["filename"]
    (stored,) = uploaded_files(settings)
    assert stored == settings.uploads / row["image_path"]
    assert stored.resolve().is_relative_to(settings.uploads.resolve())


async def test_malformed_multipart_is_400(client: httpx.AsyncClient) -> None:
    for body, content_type in [
        (b"no boundary here", "multipart/form-data"),
        (b"--y\r\nbroken", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--x--\r\n", "multipart/form-data; boundary=x"),
    ]:
        answer = await client.post("/predictions/", content=body, headers={"Content-Type": content_type})
        assert answer.status_code in {400, 422}
        assert answer.json()["detail"]


async def test_a_file_one_byte_over_the_limit_is_413(settings: Settings, client: httpx.AsyncClient) -> None:
    data = jpeg()
    padded = data + bytes(settings.max_upload_bytes - len(data))
    assert (await client.post("/predictions/", files={"file": ("a.jpg", padded)})).status_code == 201
    answer = await client.post("/predictions/", files={"file": ("a.jpg", padded + b"x")})
    assert answer.status_code == 413
    assert answer.json()["detail"] == f"The upload is larger than {settings.max_upload_bytes} bytes."


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_413_before_it_has_all_arrived(
    client: httpx.AsyncClient, settings: Settings, declared: bool
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        while sent < 100 * 2**20:
            sent += 2**16
            yield bytes(2**16)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if declared:
        headers["Content-Length"] = str(100 * 2**20)
    answer = await client.post("/predictions/", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["connection"] == "close"
    assert sent < settings.max_upload_bytes + 5 * 2**20
    assert uploaded_files(settings) == []
