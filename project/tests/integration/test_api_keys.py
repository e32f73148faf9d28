"""Access: API keys, scopes, browser sessions and cross-site requests."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from http.cookies import SimpleCookie

import httpx
import pytest
from fastapi.routing import APIRoute

from app.api.middleware import auth
from app.config import Settings
from app.db.connection import execute
from app.db.crud import api_keys
from app.domain import Scope, StartupError
from app.pages import classify, gallery, models, statistics
from tests.integration.conftest import serving
from tests.pictures import encoded, jpeg, scene

pytestmark = pytest.mark.process

READ, WRITE, ADMIN = Scope.READ, Scope.WRITE, Scope.ADMIN


@pytest.fixture
async def closed(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that requires keys and does not cache them, so that tests need not wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "CALLER_CACHE_SECONDS", 0.0)
        async with serving(settings.model_copy(update={"allow_anonymous": False})) as client:
            yield client


async def new_key(*scopes: Scope, expires_in: timedelta | None = None) -> str:
    _, key = await api_keys.create("a test", scopes, expires_in, "a tester")
    return key


def with_key(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


OPEN = ["/ping", "/ping/", "/health", "/ready", "/docs", "/redoc", "/openapi.json", "/static/style.css", "/sign-in"]


async def test_open_paths_need_no_key(closed: httpx.AsyncClient) -> None:
    for path in OPEN:
        assert (await closed.get(path)).status_code == 200, path


async def test_every_other_route_needs_a_key(closed: httpx.AsyncClient) -> None:
    described = (await closed.get("/openapi.json")).json()["paths"]
    routes = [(path, method) for path, operations in described.items() for method in operations]
    for router in (classify.router, gallery.router, models.router, statistics.router):
        routes += [
            (one.path, method) for one in router.routes if isinstance(one, APIRoute) for method in one.methods or ()
        ]
    asked = 0
    for template, method in routes:
        path = template.replace("{id}", "1").replace("{model}", "x").replace("{name}", "x")
        if path in auth.OPEN_PATHS:
            continue
        answer = await closed.request(method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.json()["code"] == "key_needed", (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        asked += 1
    assert asked > 25
    for odd in ("//predictions/", "/predictions/1/../", "/PING/../predictions/", "/static/../predictions/", "/nothing"):
        assert (await closed.get(odd)).status_code == 401


async def test_valid_key_is_accepted(closed: httpx.AsyncClient) -> None:
    key = await new_key(READ, WRITE)
    for sent in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}, {"Authorization": f"bearer  {key}"}):
        answer = await closed.post("/predictions/", files={"file": jpeg()}, headers={**sent, "Prefer": "wait=30"})
        assert answer.status_code == 201
        assert answer.json()["status"] == "succeeded"
        assert (await closed.get("/predictions/1/", headers=sent)).status_code == 200
    (row,) = await execute("SELECT used_at IS NOT NULL AS used FROM api_keys")
    assert row["used"]


async def test_each_scope_allows_only_its_requests(closed: httpx.AsyncClient) -> None:
    reads, writes, all_ = [with_key(await new_key(scope)) for scope in (READ, WRITE, ADMIN)]
    for headers, may_read, may_write in [(reads, True, False), (writes, False, True), (all_, True, True)]:
        read = await closed.get("/predictions/", headers=headers)
        assert read.status_code == (200 if may_read else 403)
        written = await closed.post("/predictions/", files={"file": jpeg()}, headers=headers)
        assert written.status_code == (201 if may_write else 403)
    refused = await closed.delete("/predictions/1/", headers=reads)
    assert refused.json()["detail"] == "The API key does not have the scope write."
    assert refused.json()["code"] == "scope_missing"


async def test_invalid_expired_and_revoked_keys_are_rejected(closed: httpx.AsyncClient) -> None:
    key, expired, revoked = await new_key(READ), await new_key(READ), await new_key(READ)
    await execute("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = 2")
    assert await api_keys.revoke(3, "a tester")
    assert not await api_keys.revoke(3, "a tester")
    last = "A" if key[-1] != "A" else "B"
    for wrong in (expired, revoked, key[:-1] + last, key[:-1], key + "A", "x", "ic__", key.upper()):
        answer = await closed.get("/predictions/", headers=with_key(wrong))
        assert answer.status_code == 401, wrong
        assert answer.json()["code"] == "key_refused", wrong
    assert (await closed.get("/predictions/", headers=with_key(key))).status_code == 200
    # Neither is a wrong key no key, where none is needed.
    assert (await closed.get("/predictions/", headers={"Authorization": f"Basic {key}"})).status_code == 401


async def test_only_a_hash_is_stored_and_nothing_is_logged(
    closed: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = await new_key(READ)
    secret = key.split("_", 2)[2]
    await closed.get("/predictions/", headers=with_key(key))
    await closed.post("/sign-in", data={"key": key})
    await closed.get("/predictions/", headers=with_key(key[:-1]))
    for table in ("api_keys", "sessions"):
        assert secret not in str(await execute(f"SELECT * FROM {table}"))  # noqa: S608 - ours
    assert secret[:-1] not in caplog.text


async def sign_in(client: httpx.AsyncClient, *scopes: Scope, **headers: str) -> httpx.Response:
    return await client.post("/sign-in", data={"key": await new_key(*scopes), "next": "/history?q=a"}, headers=headers)


HTML = {"Accept": "text/html"}
OWN = {"Sec-Fetch-Site": "same-origin"}


async def test_browser_signs_in_and_out(closed: httpx.AsyncClient) -> None:
    asked = await closed.get("/history?q=a", headers=HTML)
    assert asked.status_code == 303
    assert asked.headers["location"] == "/sign-in?next=%2Fhistory%3Fq%3Da"
    assert 'value="/history?q=a"' in (await closed.get(asked.headers["location"])).text
    wrong = await closed.post("/sign-in", data={"key": "nonsense"})
    assert wrong.status_code == 401
    assert "The API key is unknown, expired or revoked" in wrong.text

    answer = await sign_in(closed, READ, WRITE)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/history?q=a"
    ((name, cookie),) = SimpleCookie(answer.headers["set-cookie"]).items()
    assert cookie["httponly"]
    assert cookie["samesite"] == "strict"
    assert cookie["path"] == "/"
    assert cookie["secure"] == ""
    assert "Sign out" in (await closed.get("/history", headers=HTML)).text
    uploaded = await closed.post("/predictions/", files={"file": jpeg()}, headers=OWN)
    assert uploaded.status_code == 201

    kept = closed.cookies[name]
    await closed.post("/sign-out", headers=OWN)
    assert name not in closed.cookies
    closed.cookies.set(name, kept)
    assert (await closed.get("/predictions/")).status_code == 401


async def test_cookie_is_secure_behind_tls(closed: httpx.AsyncClient) -> None:
    closed.base_url = httpx.URL("https://localhost")
    assert "Secure" in (await sign_in(closed, READ)).headers["set-cookie"]


async def test_sign_in_redirects_only_within_the_service(closed: httpx.AsyncClient) -> None:
    key = await new_key(READ)
    for wanted in ("//evil.example/", "https://evil.example/", "/\\evil.example", "", "/\nx"):
        answer = await closed.post("/sign-in", data={"key": key, "next": wanted}, headers=OWN)
        assert answer.status_code == 303, wanted
        assert answer.headers["location"] == "/", wanted


async def test_revoking_a_key_ends_its_sessions(closed: httpx.AsyncClient) -> None:
    await sign_in(closed, READ)
    assert (await closed.get("/predictions/")).status_code == 200
    await api_keys.revoke(1, "a tester")
    assert (await closed.get("/predictions/")).status_code == 401
    assert (await closed.get("/history", headers=HTML)).headers["location"].startswith("/sign-in")


SENT_FROM: list[tuple[dict[str, str], int]] = [
    ({"Sec-Fetch-Site": "same-origin"}, 404),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "none"}, 403),
    ({"Origin": "http://localhost:8004"}, 404),
    ({"Origin": "http://localhost:3000"}, 403),
    ({"Origin": "null"}, 403),
    ({}, 403),
]


async def test_other_sites_cannot_change_anything_with_a_session(closed: httpx.AsyncClient) -> None:
    await sign_in(closed, READ, WRITE)
    key = await new_key(WRITE)
    for headers, status in SENT_FROM:
        assert (await closed.delete("/predictions/1/", headers=headers)).status_code == status, headers
        # Who has a key sends it on purpose.
        assert (await closed.delete("/predictions/1/", headers={**headers, **with_key(key)})).status_code == 404


async def test_image_shared_with_the_installed_page_is_accepted(closed: httpx.AsyncClient) -> None:
    await sign_in(closed, READ, WRITE)
    shared = {"file": ("shared.jpg", jpeg())}
    # Pages that were installed before still use the second one.
    for path in ("/shared", "/classifications"):
        accepted = await closed.post(path, files=shared, headers={**HTML, "Sec-Fetch-Site": "none"})
        assert accepted.status_code == 303
        for site in ("cross-site", "same-site"):
            refused = await closed.post(path, files=shared, headers={**HTML, "Sec-Fetch-Site": site})
            assert refused.status_code == 403, site


async def test_all_images_that_are_shared_at_once_are_accepted(client: httpx.AsyncClient) -> None:
    # Forms of other pages are limited to 64 KiB.
    photos = [encoded(scene(2000 + number, 1500), "JPEG", quality=95) for number in range(3)]
    assert len(photos[0]) > 64 * 1024
    images = [("file", (f"{number}.jpg", photo)) for number, photo in enumerate(photos)]
    accepted = await client.post("/shared", files=images, headers=HTML)
    assert (accepted.status_code, accepted.headers["location"]) == (303, "/history?only=1,2,3")
    single = await client.post("/shared", files=images[:1], headers=HTML)
    assert single.headers["location"] == "/history/4"
    refused = await client.post("/shared", files={"file": ("notes.txt", b"no image")}, headers=HTML)
    assert refused.status_code == 400
    assert "This is a text file" in refused.text or "File must be an image" in refused.text


async def test_other_sites_cannot_change_anything_without_keys(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/predictions/1/", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "cross_site"
    assert (await client.delete("/predictions/1/")).status_code == 404


@pytest.mark.parametrize(
    ("host", "allow", "starts"),
    [("127.0.0.1", None, True), ("::1", None, True), ("localhost", None, True), ("0.0.0.0", True, True),
     ("0.0.0.0", None, False), ("::", None, False), ("192.168.0.7", None, False), ("192.168.0.7", False, False)],
)  # fmt: skip
async def test_service_on_other_addresses_does_not_start_without_a_key(
    settings: Settings, host: str, allow: bool | None, *, starts: bool
) -> None:
    settings = settings.model_copy(update={"host": host, "allow_anonymous": allow})
    if not starts:
        with pytest.raises(StartupError, match="ALLOW_ANONYMOUS=1"):
            async with serving(settings):
                pass
        return
    async with serving(settings) as client:
        assert (await client.get("/predictions/")).status_code == 200


async def test_service_on_other_addresses_starts_with_a_key(settings: Settings) -> None:
    async with serving(settings):
        key = await new_key(READ)
    async with serving(settings.model_copy(update={"host": "0.0.0.0", "allow_anonymous": False})) as client:
        assert (await client.get("/predictions/", headers=with_key(key))).status_code == 200
