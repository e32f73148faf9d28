"""Addresses of the service behind proxies: ROOT_PATH, PUBLIC_URL, X-Forwarded-Host, and other ports."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.config import Settings
from app.domain import StartupError
from app.main import create_application
from tests.integration.conftest import serving
from tests.pictures import jpeg

HTML = {"Accept": "text/html"}
FILES: Any = {"file": ("a.jpg", jpeg())}


def behind(settings: Settings, **update: Any) -> Settings:
    return settings.model_copy(update={"allow_anonymous": True, **update})


@pytest.mark.parametrize("prefix", ["", "/some/classifier"], ids=["removed", "passed on"])
async def test_prefix_may_be_removed_by_the_proxy_or_not(settings: Settings, prefix: str) -> None:
    root = "/some/classifier"
    async with serving(behind(settings, root_path=root)) as client:
        posted = await client.post(f"{prefix}/predictions/", files=FILES, headers={"Prefer": "wait"})
        assert posted.status_code == 201
        assert posted.headers["location"] == f"{root}/predictions/{posted.json()['id']}/"
        assert (await client.get(posted.headers["location"])).status_code == 200
        await client.post(f"{prefix}/predictions", files=FILES)
        page = await client.get(f"{prefix}/predictions", params={"limit": 1})
        assert page.headers["link"].startswith(f"<{root}/predictions/?")
        for path in (
            "/ping",
            "/predictions/1/",
            "/predictions/1",
            "/static/page.js",
            "/static-offline-docs/favicon.png",
        ):
            assert (await client.get(f"{prefix}{path}")).status_code == 200, path
        assert (await client.get(f"{prefix}/nothing")).status_code == 404

        assert (await client.get(f"{prefix}/")).json()["docs"] == f"{root}/docs"
        home = await client.get(f"{prefix}/", headers=HTML)
        assert f'data-root="{root}"' in home.text
        assert f'<a href="{root}/" aria-current="page">' in home.text
        assert f'src="{root}/static/page.js' in home.text
        assert f"{root}/openapi.json" in (await client.get(f"{prefix}/docs")).text
        assert "script-src" in (await client.get(f"{prefix}/docs")).headers["content-security-policy"]
        assert (await client.get(f"{prefix}/openapi.json")).json()["servers"] == [{"url": root}]
        moved = await client.post(f"{prefix}/history/1/deletion", data={"sure": "yes"})
        assert moved.headers["location"] == f"{root}/history"
        metrics = (await client.get(f"{prefix}/metrics")).text
        assert f'route="{root}' not in metrics


async def test_root_without_its_slash_is_the_home_page(settings: Settings) -> None:
    async with serving(behind(settings, root_path="/classifier")) as client:
        assert 'data-root="/classifier"' in (await client.get("/classifier", headers=HTML)).text


async def test_path_of_the_public_url_is_the_prefix(settings: Settings) -> None:
    async with serving(behind(settings, public_url="https://example.com/classifier")) as client:
        answer = await client.get("/classifier/ping", headers={"Host": "example.com"})
        assert answer.status_code == 200
        # Browsers reach it by TLS, whatever the proxy says.
        assert "strict-transport-security" in answer.headers


@pytest.mark.parametrize("root", ["/predictions", "/static/a", "/docs"])
def test_prefix_that_is_a_path_of_the_service_is_refused(settings: Settings, root: str) -> None:
    with pytest.raises(StartupError, match="ROOT_PATH must not begin with /"):
        create_application(behind(settings, root_path=root))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"root_path": "classifier"}, "must be a path such as /classifier"),
        ({"root_path": "/a//b"}, "must be a path such as /classifier"),
        ({"root_path": "/a/../b"}, "must be a path such as /classifier"),
        ({"root_path": "/a b"}, "must be a path such as /classifier"),
        ({"public_url": "example.com"}, "must be an address such as https://photos.example.com"),
        ({"public_url": "https://example.com:99999"}, "must be an address such as https://photos.example.com"),
        ({"public_url": "https://example.com:0"}, "must be an address such as https://photos.example.com"),
        ({"public_url": "ftp://example.com"}, "must be an address such as https://photos.example.com"),
        ({"public_url": "https://example.com/?a=b"}, "must be an address such as https://photos.example.com"),
        ({"public_url": "https://example.com/a", "root_path": "/b"}, "is not the path of PUBLIC_URL"),
    ],
)
def test_unusable_values_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings(**values)


def test_last_slash_does_not_matter() -> None:
    assert Settings(root_path="/a/", public_url="HTTPS://Example.com/a/").root == "/a"
    assert Settings(root_path="/").root == ""
    assert Settings(public_url="https://example.com/").root == ""


@pytest.mark.parametrize(
    ("host", "origin", "headers"),
    [
        ("photos.lan:8080", "http://photos.lan:8080", {}),
        # nginx's $host leaves out the port.
        ("photos.lan", "http://photos.lan:8080", {}),
        ("photos.lan:80", "http://photos.lan", {}),
        ("photos.lan:443", "https://photos.lan", {}),
        ("127.0.0.1:8004", "http://photos.lan:8080", {"X-Forwarded-Host": "photos.lan:8080"}),
        ("127.0.0.1:8004", "http://photos.lan:8080", {"X-Forwarded-Host": "Photos.LAN, inner.lan"}),
        # The pages' script: other origins' scripts may not send this header.
        ("127.0.0.1:8004", "http://photos.lan:8080", {"X-Requested-With": "XMLHttpRequest"}),
    ],
)
async def test_page_works_behind_a_proxy(settings: Settings, host: str, origin: str, headers: dict[str, str]) -> None:
    async with serving(behind(settings, allowed_hosts="photos.lan")) as client:
        sent = {"Host": host, "Origin": origin, **headers}
        assert (await client.post("/predictions/", files=FILES, headers=sent)).status_code == 201


@pytest.mark.parametrize(
    ("host", "origin", "headers"),
    [
        ("127.0.0.1:8004", "http://photos.lan:8080", {}),
        ("photos.lan:8004", "http://photos.lan:8080", {}),
        ("photos.lan", "http://photos.lan.evil.example", {}),
        ("photos.lan", "null", {}),
        ("photos.lan", "http://photos.lan:99999999", {}),
        ("photos.lan", "http://[", {}),
        ("127.0.0.1:8004", "http://evil.example", {"X-Forwarded-Host": "photos.lan"}),
        ("photos.lan", "http://photos.lan", {"Sec-Fetch-Site": "cross-site", "X-Requested-With": "XMLHttpRequest"}),
    ],
)
async def test_pages_of_other_addresses_are_refused(
    settings: Settings, host: str, origin: str, headers: dict[str, str]
) -> None:
    async with serving(behind(settings, allowed_hosts="photos.lan")) as client:
        sent = {"Host": host, "Origin": origin, **headers}
        answer = await client.post("/predictions/", files=FILES, headers=sent)
        assert answer.status_code == 403
        assert answer.json()["code"] == "cross_site"


async def test_public_url_settles_what_the_proxy_does_not_say(settings: Settings) -> None:
    sent = {"Host": "127.0.0.1:8004", "Origin": "http://photos.lan:8080"}
    async with serving(behind(settings)) as client:
        refused = await client.post("/predictions/", files=FILES, headers=sent)
        assert "set PUBLIC_URL" in refused.json()["detail"]
    async with serving(behind(settings, public_url="http://photos.lan:8080")) as client:
        assert (await client.post("/predictions/", files=FILES, headers=sent)).status_code == 201
        # Its host is allowed, too.
        assert (await client.get("/predictions/", headers={"Host": "photos.lan:8080"})).status_code == 200


async def test_forwarded_host_of_an_untrusted_client_is_ignored(settings: Settings) -> None:
    sent = {"Host": "127.0.0.1:8004", "Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"}
    async with serving(behind(settings, trusted_proxies="10.0.0.1")) as client:
        assert (await client.post("/predictions/", files=FILES, headers=sent)).status_code == 403


async def test_known_ports_are_compared(settings: Settings) -> None:
    """A page on another port of the host is another service's, where the port is known."""
    pages = {"https://h.example": 201, "https://h.example:8443": 403, "http://h.example": 403}
    async with serving(behind(settings, public_url="https://h.example", trusted_proxies="10.0.0.1")) as client:
        for origin, status in pages.items():
            sent = {"Host": "127.0.0.1:8004", "Origin": origin}
            assert (await client.post("/predictions/", files=FILES, headers=sent)).status_code == status, origin
    # Without a proxy, a host without a port has the default port.
    async with serving(behind(settings, allowed_hosts="h.example", trusted_proxies="10.0.0.1")) as client:
        for origin, status in {"http://h.example": 201, "http://h.example:8000": 403}.items():
            sent = {"Host": "h.example", "Origin": origin}
            assert (await client.post("/predictions/", files=FILES, headers=sent)).status_code == status, origin
