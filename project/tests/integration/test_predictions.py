"""The contract of /predictions on the real application."""

import asyncio
import hashlib
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from app.classifier.engine.process import Classification, Engine
from app.config import Settings
from tests.integration.conftest import Upload, uploaded_files
from tests.pictures import encoded, jpeg, scene, turned

FIELDS = {
    *("id", "filename", "image_path", "content_type", "size_bytes", "width", "height", "sha256", "status"),
    *(
        "top_prediction",
        "confidence",
        "all_predictions",
        "categories",
        "decision",
        "calibrated_confidence",
        "model",
        "model_version",
        "error",
        "attempts",
    ),
    *("cached", "created_at", "started_at", "completed_at", "corrected_at", "reviewed_at", "reviewed_by", "verdict"),
}


async def test_other_methods_on_the_upload_path_upload_nothing(client: httpx.AsyncClient) -> None:
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"):
        for path in ("/predictions/", "/predictions"):
            answer = await client.request(method, path, files={"file": ("a.jpg", jpeg())})
            assert answer.status_code == 405, method
            assert answer.headers["allow"] == "GET, POST"
    assert (await client.get("/predictions/")).json() == []


async def test_upload_is_pending_and_then_classified(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    data = encoded(scene(400, 300), "JPEG", exif=turned(6))
    response = await upload(data, "cat.png")
    assert response.status_code == 201
    accepted = response.json()
    assert accepted.keys() == FIELDS
    assert accepted["status"] == "pending"
    assert accepted["filename"] == "cat.png"
    assert accepted["attempts"] == 0
    assert accepted["top_prediction"] is accepted["all_predictions"] is accepted["completed_at"] is None
    assert response.headers["location"] == f"/predictions/{accepted['id']}/"

    done = (await client.get(response.headers["location"])).json()
    assert done.keys() == FIELDS
    assert done["status"] == "succeeded"
    assert done["attempts"] == 1
    assert done["error"] is None
    assert done["corrected_at"] is None
    assert done["content_type"] == "image/jpeg"
    assert done["width"] == 300
    assert done["height"] == 400
    assert done["size_bytes"] == len(data)
    assert done["sha256"] == hashlib.sha256(data).hexdigest()
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
async def test_upload_works_on_both_paths_without_a_redirect(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, files={"file": ("a.jpg", jpeg())})
    assert response.status_code == 201
    for slash in ("", "/"):
        one = await client.get(f"/predictions/{response.json()['id']}{slash}")
        assert one.status_code == 200


async def test_prefer_wait_returns_the_result(upload: Upload) -> None:
    response = await upload(jpeg(), Prefer="wait=30")
    assert response.status_code == 201
    assert response.headers["preference-applied"] == "wait=30"
    assert response.json()["status"] == "succeeded"
    assert response.json()["all_predictions"]


async def test_prefer_wait_is_capped(upload: Upload, settings: Settings) -> None:
    response = await upload(jpeg(), Prefer="wait=100000")
    assert response.headers["preference-applied"] == f"wait={settings.max_wait_seconds}"


@pytest.mark.parametrize("seconds", [0, 1])
async def test_wait_ends_with_an_unfinished_prediction(client: httpx.AsyncClient, upload: Upload, seconds: int) -> None:
    answered = asyncio.Event()
    real = Engine.classify

    async def not_before_the_answer(engine: Engine, model: str, data: bytes, **options: Any) -> Classification:
        await answered.wait()
        return await real(engine, model, data, **options)

    with patch.object(Engine, "classify", not_before_the_answer):
        response = await upload(jpeg(), Prefer=f"wait={seconds}")
        assert response.status_code == 201
        assert response.headers["preference-applied"] == f"wait={seconds}"
        assert response.json()["status"] in {"pending", "processing"}
        answered.set()
        async with asyncio.timeout(30):
            while (await client.get(response.headers["location"])).json()["status"] != "succeeded":
                await asyncio.sleep(0.01)


async def test_prefer_header_may_be_repeated(client: httpx.AsyncClient) -> None:
    headers = [("Prefer", "handling=lenient"), ("Prefer", "wait=30")]
    response = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers=headers)
    assert response.json()["status"] == "succeeded"


async def test_upload_names_its_model(client: httpx.AsyncClient, settings: Settings) -> None:
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
    assert seen == ids[::-1]
    assert pages == 3


async def test_predictions_are_filtered_by_status(client: httpx.AsyncClient, upload: Upload) -> None:
    good = (await upload(jpeg())).json()["id"]
    bad = (await upload(jpeg()[:2000])).json()["id"]
    for status, ids in {"succeeded": [good], "failed": [bad], "pending": [], "processing": []}.items():
        answer = await client.get("/predictions", params={"status": status})
        assert [row["id"] for row in answer.json()] == ids


async def test_invalid_query_is_422(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for query in ["limit=0", "limit=501", "limit=x", "cursor=forged", "cursor=", "status=done", "status="]:
        with subtests.test(query=query):
            answer = await client.get(f"/predictions/?{query}")
            assert answer.status_code == 422
            assert answer.json()["detail"][0]["loc"] == ["query", query.split("=", maxsplit=1)[0]]


async def test_correction_keeps_the_models_result(client: httpx.AsyncClient, upload: Upload) -> None:
    id = (await upload(jpeg())).json()["id"]
    before = (await client.get(f"/predictions/{id}/")).json()
    answer = await client.put(f"/predictions/{id}/", json={"top_prediction": "my cat", "confidence": 1})
    assert answer.status_code == 200
    after = answer.json()
    assert after["top_prediction"] == "my cat"
    assert after["confidence"] == 1.0
    assert after["corrected_at"] is not None
    assert after["all_predictions"] == before["all_predictions"]
    assert (await client.get(f"/predictions/{id}/")).json() == after


async def test_invalid_correction_is_422_and_changes_nothing(
    client: httpx.AsyncClient, upload: Upload, subtests: pytest.Subtests
) -> None:
    id = (await upload(jpeg())).json()["id"]
    before = (await client.get(f"/predictions/{id}/")).json()
    for body, field in [
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
    ]:
        with subtests.test(body=body):
            answer = await client.put(f"/predictions/{id}/", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
            assert answer.json()["detail"][0]["loc"] == (["body", field] if field is not None else ["body"])
            assert (await client.get(f"/predictions/{id}/")).json() == before


async def test_deletion_removes_the_prediction_and_its_image(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    id = (await upload(jpeg(), "cat.jpg")).json()["id"]
    assert len(uploaded_files(settings)) == 1
    answer = await client.delete(f"/predictions/{id}")
    assert answer.status_code == 200
    assert answer.json() == {"id": id, "filename": "cat.jpg"}
    assert uploaded_files(settings) == []
    for call in (client.delete, client.get):
        assert (await call(f"/predictions/{id}/")).status_code == 404
