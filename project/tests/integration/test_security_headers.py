"""Security headers of every response."""

import httpx
import pytest

from tests.integration.conftest import Upload
from tests.pictures import jpeg

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
