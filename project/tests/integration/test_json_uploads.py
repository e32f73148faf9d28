"""Uploads as JSON: base64 and ``image_url``."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from fastapi.routing import APIRoute

from app.config import Settings
from app.db.connection import execute
from app.main import create_application
from app.outbound import image_download
from app.outbound.addresses import is_public
from tests.integration.conftest import serving, uploaded_files
from tests.pictures import jpeg
from tests.uploading import WAIT, upload

pytestmark = pytest.mark.process


async def post(client: httpx.AsyncClient, **sent: Any) -> httpx.Response:
    return await client.post("/predictions/", json=sent, headers=WAIT)


def validation_message(answer: httpx.Response) -> str:
    """Field and message of a 422 response."""
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["detail"]
    return f"{'.'.join(error['loc'])}: {error['msg']}"


async def test_base64_image_is_classified(client: httpx.AsyncClient) -> None:
    width = 300
    for prefix in ("", "data:image/jpeg;base64,", "DATA:;base64,"):
        for encode in (base64.b64encode, base64.encodebytes):
            width += 1
            answer = await post(client, image=prefix + encode(jpeg(width)).decode(), filename="a cat.jpg")
            row = answer.json()
            assert answer.status_code == 201
            assert row["status"] == "succeeded"
            assert row["filename"] == "a cat.jpg"
            assert row["width"] == width
            assert row["size_bytes"] == len(jpeg(width))
            assert answer.headers["Location"] == f"/predictions/{row['id']}/"


NO_UPLOADS: list[tuple[dict[str, Any], str]] = [
    ({}, "body.image: Send either `image` (base64) or `image_url`"),
    ({"image": "aGFsbG8=", "image_url": "http://a.com/"}, "body.image: Send either `image` (base64) or `image_url`"),
    ({"image": "no base64!"}, "body.image: The image must be base64"),
    ({"image": "aGFsbG"}, "body.image: The image must be base64"),
    ({"image": 5}, "body.image: Input should be a valid string"),
    ({"image": "aGFsbG8=", "model": "nonsense"}, "body.model: There is no model 'nonsense'"),
    ({"image_url": "http://example.com/"}, "body.image_url: Image URLs are disabled"),
]


async def test_invalid_upload_in_json_is_422(client: httpx.AsyncClient) -> None:
    for sent, says in NO_UPLOADS:
        assert validation_message(await post(client, **sent)).startswith(says), sent
    assert await execute("SELECT 1 FROM predictions") == []


async def test_invalid_json_is_422_and_other_files_are_400(client: httpx.AsyncClient) -> None:
    for content in (b"", b"{", b"[]", b"null", b"\xff", b'{"image":' * 999):
        answer = await client.post("/predictions/", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, content
    answer = await post(client, image="aGFsbG8=")
    assert answer.status_code == 400
    assert answer.json()["detail"] == "File must be an image"


async def test_size_limit_applies_to_the_decoded_image(settings: Settings) -> None:
    data = jpeg(800, 600)
    exactly = settings.model_copy(update={"max_upload_bytes": len(data)})
    async with serving(exactly) as client:
        assert (await post(client, image=base64.encodebytes(data).decode())).status_code == 201
        answer = await post(client, image=base64.b64encode(data + b"x").decode())
        assert answer.status_code == 413
        assert answer.json()["code"] == "upload_too_large"
        answer = await post(client, image="A" * (2 * len(data) + 100_000))
        assert answer.status_code == 413
        assert answer.json()["code"] == "upload_too_large"
        assert len(uploaded_files(exactly)) == 1


async def test_idempotency_key_works_with_json(client: httpx.AsyncClient) -> None:
    sent = {"image": base64.b64encode(jpeg()).decode()}
    first, again = [await client.post("/predictions/", json=sent, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    form = await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers={"Idempotency-Key": "one"})
    assert form.json()["id"] == first.json()["id"]


Answering = Callable[[str], tuple[int, dict[str, str], bytes]]


@asynccontextmanager
async def web_server(answering: Answering, hold: Callable[[], Awaitable[object]] | None = None) -> AsyncIterator[str]:
    """A web server with a prepared response for each path."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, headers, body = answering(request.split(" ")[1])
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} x\r\nConnection: close\r\n{head}\r\n".encode() + body)
        if hold:
            await hold()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
async def fetching_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(settings.model_copy(update={"image_url": "any", "max_upload_bytes": 200_000})) as client:
        yield client


@pytest.mark.parametrize("as_form", [True, False])
async def test_image_url_is_downloaded(fetching_client: httpx.AsyncClient, *, as_form: bool) -> None:
    def answering(path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/first":
            return 302, {"Location": "/pictures/a%20cat.jpg?of=mine"}, b""
        assert path == "/pictures/a%20cat.jpg?of=mine"
        return 200, {"Content-Type": "text/html"}, jpeg(345)

    async with web_server(answering) as url:
        first = f"{url}/first"
        sent: dict[str, Any] = {"files": {"image_url": (None, first)}} if as_form else {"json": {"image_url": first}}
        answer = await fetching_client.post("/predictions/", headers=WAIT, **sent)
        row = answer.json()
        assert answer.status_code == 201
        assert row["width"] == 345
        assert row["filename"] == "a cat.jpg"
        assert row["status"] == "succeeded"


async def test_downloaded_bytes_count_against_the_rate_limit(settings: Settings) -> None:
    size = len(jpeg())
    some = settings.model_copy(update={"image_url": "any", "rate_limit_bytes": 2 * size - 1_000})
    async with (
        web_server(lambda path: (200, {}, jpeg() if path == "/image" else b"x" * size)) as url,
        serving(some) as client,
    ):
        assert (await post(client, image_url=f"{url}/image")).status_code == 201
        assert (await post(client, image_url=f"{url}/no-image")).status_code == 400
        assert (await post(client, image_url=f"{url}/image")).status_code == 429


async def test_failed_download_is_reported(fetching_client: httpx.AsyncClient, settings: Settings) -> None:
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {
        "/missing": (404, {}, b""),
        "/round": (301, {"Location": "/round"}, b""),
        "/nowhere": (301, {"Location": "http://["}, b""),
        "/file": (301, {"Location": "file:///etc/passwd"}, b""),
        "/text": (200, {}, b"no image"),
        "/large": (200, {"Content-Length": "200001"}, b"x"),
        "/endless": (200, {}, bytes(200_001)),
        "/packed": (200, {"Content-Encoding": "gzip"}, jpeg()),
    }
    async with web_server(lambda path: answers[path]) as url:

        async def of(path: str) -> httpx.Response:
            return await post(fetching_client, image_url=url + path)

        assert validation_message(await of("/missing")) == "body.image_url: The server responded with 404."
        assert validation_message(await of("/round")) == "body.image_url: The server redirected more than 3 times."
        for path in ("/file", "/nowhere"):
            assert "redirected to an invalid URL" in validation_message(await of(path))
        assert (await of("/text")).json()["detail"] == "File must be an image"
        for path in ("/large", "/endless"):
            answer = await of(path)
            assert answer.status_code == 413
            assert answer.json()["code"] == "upload_too_large"
        assert (await of("/packed")).status_code == 201
    closed = await post(fetching_client, image_url=url)
    assert validation_message(closed) == "body.image_url: The connection failed."
    for none in ("ftp://example.com/a", "example.com/a", "http://user@example.com/", "http://a b/"):
        assert "Invalid image URL" in validation_message(await post(fetching_client, image_url=none))
    assert len(uploaded_files(settings)) == 1


async def test_hanging_server_is_given_up(fetching_client: httpx.AsyncClient) -> None:
    released = asyncio.Event()
    async with web_server(lambda _: (200, {}, jpeg()[:99]), released.wait) as url:
        with patch.object(image_download, "SECONDS", 0.5):
            answer = await post(fetching_client, image_url=url)
        released.set()
    assert validation_message(answer) == "body.image_url: The download took longer than 0 s."


PRIVATE = ["127.0.0.1", "10.1.2.3", "192.0.0.8", "169.254.169.254", "::1", "fe80::1", "::ffff:10.0.0.1"]


async def test_private_addresses_are_rejected_also_after_a_redirect(settings: Settings) -> None:
    """The address that a name resolves to decides, and the connection goes to that address."""
    asked: list[str] = []
    real = socket.getaddrinfo
    address = ""

    def answering(path: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return (302, {"Location": f"http://inner.example:{port}/second"}, b"") if path == "/first" else (200, {}, b"")

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        leads_to = {
            "outer.example": [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
            "inner.example": [(family, socket.SOCK_STREAM, 6, "", (address, port))],
        }
        return leads_to.get(host) or real(host, *args, **options)

    def outer_is_public(looked_at: str) -> bool:
        return (looked_at == "127.0.0.1" and not asked) or is_public(looked_at)

    async with (
        serving(settings.model_copy(update={"image_url": "public"})) as client,
        web_server(answering) as url,
    ):
        port = int(url.rpartition(":")[2])
        with patch("socket.getaddrinfo", resolve):
            for address in PRIVATE:
                asked.clear()
                first = await post(client, image_url=f"http://inner.example:{port}/first")
                assert validation_message(first) == "body.image_url: This address is not allowed.", address
                assert asked == [], address
                with patch("app.outbound.http_client.is_public", outer_is_public):
                    second = await post(client, image_url=f"http://outer.example:{port}/first")
                assert validation_message(second) == "body.image_url: This address is not allowed.", address
                assert asked == ["/first"], address


async def test_idempotency_key_compares_the_url(fetching_client: httpx.AsyncClient) -> None:
    asked: list[str] = []

    def answering(path: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return (200, {}, jpeg(300 + len(asked))) if len(asked) > 1 else (503, {}, b"")

    async with web_server(answering) as url:

        async def sent(path: str) -> httpx.Response:
            key = {"Idempotency-Key": "one"}
            return await fetching_client.post("/predictions/", json={"image_url": url + path}, headers=key)

        assert validation_message(await sent("/a")) == "body.image_url: The server responded with 503."
        first, again = await sent("/a"), await sent("/a")
        assert first.status_code == 201
        assert first.json()["id"] == again.json()["id"]
        assert asked == ["/a", "/a"]
        assert (await sent("/b")).status_code == 422


async def test_json_needs_no_content_type(client: httpx.AsyncClient) -> None:
    body = json.dumps({"image": base64.b64encode(jpeg()).decode()}).encode()
    created = await client.post("/predictions/", content=body, headers=WAIT)
    assert created.status_code == 201, created.text
    correction = json.dumps({"top_prediction": "mine", "confidence": 1}).encode()
    corrected = await client.put(f"/predictions/{created.json()['id']}/", content=correction)
    assert corrected.json()["top_prediction"] == "mine"


def test_no_route_requires_the_content_type_of_json() -> None:
    """Curl -T and test clients send none."""
    routes = [route for route in create_application(Settings()).routes if isinstance(route, APIRoute)]
    strict = [route.path for route in routes if route.body_field and route.strict_content_type is not False]
    # The forms of pages.
    assert [
        path
        for path in strict
        if not path.startswith(("/history/", "/review/", "/teach/", "/keys/", "/classifications"))
    ] == []
    assert any(route.path == "/predictions/{id}/" for route in routes if route.body_field)


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
async def test_error_names_the_content_type_of_json(client: httpx.AsyncClient, content_type: str) -> None:
    """As sent by curl -d, which takes every body for a form."""
    id = (await upload(client, wait=True)).json()["id"]
    headers = {"Content-Type": content_type}
    answer = await client.put(f"/predictions/{id}/", content=b'{"top_prediction": "mine"}', headers=headers)
    assert answer.status_code == 422
    assert "send the header Content-Type: application/json" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("body", [b"", jpeg(), b"[]"], ids=["nothing", "JPEG", "list"])
async def test_error_for_another_body_without_a_content_type_says_how_to_send_a_file(
    client: httpx.AsyncClient, body: bytes
) -> None:
    answer = await client.post("/predictions/", content=body)
    assert answer.status_code == 422
    assert "send the image as the field `file`" in answer.json()["detail"][0]["msg"]
