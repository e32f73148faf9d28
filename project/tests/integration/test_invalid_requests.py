"""Invalid and unusual requests: clear responses, and nothing is left behind."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.config import Settings
from tests.integration.conftest import Upload, uploaded_files
from tests.pictures import bomb, jpeg

pytestmark = pytest.mark.process

PROBLEM = "application/problem+json"


async def test_invalid_id_is_422(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for id in [0, -1, "x", "1.5", "1.0", "+1", "1_0", " 1", "1e3", " ", "0x1", "٣", "9" * 5000]:
        with subtests.test(id=id):
            for call in ("GET", "PUT", "DELETE"):
                answer = await client.request(
                    call, f"/predictions/{id}/", json={"top_prediction": "x", "confidence": 1}
                )
                assert answer.status_code == 422
                assert answer.json()["detail"][0]["loc"] == ["path", "id"]


async def test_unknown_id_is_404(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for id in [1, 2**31, 2**63 - 1, 2**63, 2**100]:
        with subtests.test(id=id):
            for call in ("GET", "PUT", "DELETE"):
                answer = await client.request(
                    call, f"/predictions/{id}/", json={"top_prediction": "x", "confidence": 1}
                )
                assert answer.status_code == 404
                assert answer.headers["content-type"] == PROBLEM
                assert answer.json()["detail"] == "Prediction not found"


async def test_other_files_are_400_and_leave_nothing(
    client: httpx.AsyncClient, upload: Upload, settings: Settings, subtests: pytest.Subtests
) -> None:
    accepted = "Accepted are JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF."
    for data, reason in [
        (b"", f"This is an empty file. {accepted}"),
        (b"I am a text that was named .jpg", f"This is a text file. {accepted}"),
        (b"%PDF-1.7", f"This is a PDF document. {accepted}"),
        (b"PK\3\4" + bytes(30), "This is a ZIP file: send it to /predictions/batch."),
        (jpeg()[:10], None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", f"This is an SVG drawing. {accepted}"),
    ]:
        with subtests.test(data=data[:20]):
            answer = await upload(data, "cat.jpg")
            assert answer.status_code == 400
            assert answer.headers["content-type"] == PROBLEM
            assert answer.json() == {
                "type": "about:blank",
                "title": "Bad Request",
                "status": 400,
                "detail": "File must be an image",
                "code": "not_an_image",
                **({"reason": reason} if reason else {}),
            }
            assert (await client.get("/predictions/")).json() == []
            assert uploaded_files(settings) == []


async def test_truncated_image_fails_with_a_code_and_without_a_label(client: httpx.AsyncClient, upload: Upload) -> None:
    data = jpeg()
    id = (await upload(data[: len(data) // 2])).json()["id"]
    failed = (await client.get(f"/predictions/{id}/")).json()
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "image_unreadable"
    assert failed["top_prediction"] is failed["confidence"] is failed["all_predictions"] is None
    assert failed["completed_at"] is not None


async def test_failed_prediction_can_be_corrected(client: httpx.AsyncClient, upload: Upload) -> None:
    id = (await upload(jpeg()[:2000])).json()["id"]
    answer = await client.put(f"/predictions/{id}/", json={"top_prediction": "cat", "confidence": 1.0})
    assert answer.json()["status"] == "failed"
    assert answer.json()["top_prediction"] == "cat"


async def test_decompression_bomb_is_413(upload: Upload, settings: Settings) -> None:
    answer = await upload(bomb(), "small.png")
    assert answer.status_code == 413
    assert answer.headers["content-type"] == PROBLEM
    assert "30000 x 30000 pixels" in answer.json()["detail"]
    assert uploaded_files(settings) == []


async def test_missing_file_is_422(client: httpx.AsyncClient) -> None:
    for arguments in ({}, {"data": {"file": "a text field"}}, {"files": {"picture": ("a.jpg", jpeg())}}):
        answer = await client.post("/predictions/", **arguments)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "file"]
        assert "curl -F file=@" in answer.json()["detail"][0]["msg"]


async def test_unusual_file_names_are_only_displayed(
    client: httpx.AsyncClient, settings: Settings, subtests: pytest.Subtests
) -> None:
    for disposition, shown in [
        (b'filename="../../etc/passwd"', "../../etc/passwd"),
        (b'filename="..\\\\..\\\\boot.ini"', "..\\..\\boot.ini"),
        (b'filename="' + b"n" * 300 + b'.jpg"', "n" * 255),
        (b'filename="<script>alert(1)</script>.jpg"', "<script>alert(1)</script>.jpg"),
        ('filename="猫.jpg"'.encode(), "猫.jpg"),
        (b'filename=""', "unnamed"),
        (b'filename="\xff\xfe.jpg"', "ÿþ.jpg"),
        (b'filename="a\x00b.jpg"', "a\ufffdb.jpg"),
        ('filename="a\u202egpj.exe"'.encode(), "agpj.exe"),
        ('filename="\u2067\u200f\u061ca\u2069.jpg"'.encode(), "a.jpg"),
    ]:
        with subtests.test(disposition=disposition):
            before = set(uploaded_files(settings))
            head = b'--x\r\nContent-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\n"
            answer = await client.post(
                "/predictions/",
                content=head + jpeg() + b"\r\n--x--\r\n",
                headers={"Content-Type": "multipart/form-data; boundary=x"},
            )
            assert answer.status_code == 201
            row = (await client.get(f"/predictions/{answer.json()['id']}/")).json()
            assert row["status"] == "succeeded"
            assert row["filename"] == shown
            (stored,) = set(uploaded_files(settings)) - before
            assert stored == settings.uploads / row["image_path"]
            assert stored.resolve().is_relative_to(settings.uploads.resolve())


async def test_malformed_multipart_is_400(client: httpx.AsyncClient) -> None:
    unnamed = b"--x\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--x--\r\n"
    for body, content_type, message in [
        (b"no boundary here", "multipart/form-data", "Missing boundary in multipart."),
        (b"--y\r\nbroken", "multipart/form-data; boundary=x", "Invalid multipart data."),
        (unnamed, "multipart/form-data; boundary=x", 'header field "name" must be provided.'),
    ]:
        answer = await client.post("/predictions/", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 400
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["detail"].endswith(message)


async def test_file_one_byte_above_the_limit_is_413(settings: Settings, client: httpx.AsyncClient) -> None:
    data = jpeg()
    padded = data + bytes(settings.max_upload_bytes - len(data))
    assert (await client.post("/predictions/", files={"file": ("a.jpg", padded)})).status_code == 201
    answer = await client.post("/predictions/", files={"file": ("a.jpg", padded + b"x")})
    assert answer.status_code == 413
    assert answer.json()["detail"] == f"The upload is larger than {settings.max_upload_bytes} bytes."


@pytest.mark.parametrize("declared", [True, False])
async def test_body_above_the_limit_is_413_before_it_arrived_completely(
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


async def test_word_instead_of_an_id_is_422(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for path, allowed in [("/predictions/batch", "POST"), ("/predictions/export/", "GET"), ("/ping", "GET")]:
        with subtests.test(path=path):
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                if method not in allowed:
                    answer = await client.request(method, path)
                    assert answer.status_code == 405, method
                    assert answer.headers["allow"] == allowed, method


async def test_every_other_body_is_small(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    large = {"file": ("a.jpg", b"x" * 100_000)}
    for method, path in [
        ("POST", "/sign-in"),
        ("POST", "/sign-out"),
        ("PUT", "/predictions/1/"),
        ("POST", "/predict/nothing"),
        ("POST", "/history/1/correction"),
        ("POST", "/history/1/deletion"),
        ("POST", "/nothing"),
        ("GET", "/predictions/"),
        ("DELETE", "/predictions/1/"),
    ]:
        with subtests.test(method=method, path=path):
            assert (await client.request(method, path, files=large)).status_code == 413
            assert (await client.request(method, path, content=b"x" * 100_000)).status_code == 413
    assert (await client.post("/sign-in", files={"key": b"x" * 4_000})).status_code == 413
    assert (await client.post("/sign-in", data={"key": "x" * 1_000})).status_code == 401
