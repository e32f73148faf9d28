"""Security headers of every response."""

import httpx
import pytest

from app.config import Settings
from tests.integration.conftest import Upload, serving
from tests.pictures import jpeg
from tests.uploading import classify

ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
PATHS = ["/", "/history", "/ping", "/docs", "/redoc", "/openapi.json", "/static/page.js", "/nothing", "/predictions/",
         "/predictions/1/", "/predictions/1/image", "/predictions/x/", "/predictions/export", "/sign-in"]  # fmt: skip


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_every_response_has_each_header_once(client: httpx.AsyncClient, upload: Upload, accept: str) -> None:
    await upload(jpeg())
    for path in PATHS:
        answer = await client.get(path, headers={"Accept": accept})
        for name, value in ALWAYS.items():
            assert answer.headers.get_list(name) == [value], path
        (policy,) = answer.headers.get_list("content-security-policy")
        assert "frame-ancestors 'none'" in policy
        # Only the documentation has a script of its own within the page.
        assert ("unsafe-inline" in policy) == (path in {"/docs", "/redoc"})
        assert "strict-transport-security" not in answer.headers


async def test_hsts_is_sent_over_tls(client: httpx.AsyncClient) -> None:
    client.base_url = httpx.URL("https://localhost")
    assert (await client.get("/ping")).headers["strict-transport-security"] == "max-age=31536000"


async def test_hsts_can_be_turned_off(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"hsts": False})) as client:
        client.base_url = httpx.URL("https://localhost")
        assert "strict-transport-security" not in (await client.get("/ping")).headers


async def test_data_is_not_stored_by_caches(client: httpx.AsyncClient) -> None:
    url = f"/predictions/{(await classify(client))['id']}"
    for path in (url, "/predictions/", "/predictions/export", "/models", "/openapi.json", "/nothing"):
        assert (await client.get(path)).headers["cache-control"] == "private, no-store", path
    image = await client.get(f"{url}/image")
    # Asked for again each time, and not sent again.
    assert image.headers["cache-control"] == "private, no-cache"
    again = await client.get(f"{url}/image", headers={"If-None-Match": image.headers["etag"]})
    assert again.status_code == 304
    await client.delete(url)
    assert (await client.get(f"{url}/image", headers={"If-None-Match": image.headers["etag"]})).status_code == 404


async def test_error_page_links_only_to_this_service(client: httpx.AsyncClient) -> None:
    for referrer, link in [
        ("http://localhost:8004/classifications", 'href="/classifications"'),
        ("http://localhost:8004//evil.example/", ""),
        ("http://localhost:8004/\\evil.example/", ""),
        ("http://evil.example/classifications", ""),
    ]:
        answer = await client.get("/history/7", headers={"Referer": referrer, "Accept": "text/html"})
        assert answer.status_code == 404
        assert "evil" not in answer.text
        assert link in answer.text
