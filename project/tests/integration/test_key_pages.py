"""API keys on the page, for administrators."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from app.config import Settings
from app.db.crud import api_keys
from app.domain import Scope
from tests.integration.conftest import serving
from tests.pictures import jpeg

pytestmark = pytest.mark.process

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ADMIN = [Scope.ADMIN]


@pytest.fixture
async def closed(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that requires keys."""
    async with serving(settings.model_copy(update={"allow_anonymous": False})) as client:
        yield client


async def headers_of(scopes: list[Scope]) -> dict[str, str]:
    _, key = await api_keys.create("anna", scopes, None, "a test")
    return {**BROWSER, "X-API-Key": key}


async def test_administrator_creates_a_key_that_works_until_it_is_revoked(closed: httpx.AsyncClient) -> None:
    admin = await headers_of(ADMIN)
    form = {"name": "camera", "scopes": ["read"], "days": "30"}
    made = await closed.post("/keys", data=form, headers=admin)
    assert made.status_code == 201
    found = re.search(r'<code id="new-key">(ic_[^<]+)</code>', made.text)
    assert found
    key = {"X-API-Key": found[1]}
    assert (await closed.get("/predictions/", headers=key)).status_code == 200
    assert (await closed.delete("/predictions/1/", headers=key)).status_code == 403
    shown = await closed.get("/keys", headers=admin)
    assert found[1] not in shown.text
    assert "camera" in shown.text
    (number,) = re.findall(r'action="/keys/(\d+)/revocation"', shown.text)
    gone = await closed.post(f"/keys/{number}/revocation", headers=admin)
    assert (gone.status_code, gone.headers["location"]) == (303, "/keys")
    assert (await api_keys.list_all())[-1].revoked_at is not None
    assert (await closed.post(f"/keys/{number}/revocation", headers=admin)).status_code == 404


@pytest.mark.parametrize("scopes", [[Scope.READ], [Scope.READ, Scope.WRITE], [Scope.READ, Scope.UPLOAD]])
async def test_others_see_no_keys(closed: httpx.AsyncClient, scopes: list[Scope]) -> None:
    headers = await headers_of(scopes)
    refused = await closed.get("/keys", headers=headers)
    assert refused.status_code == 403
    assert "<h1>Not allowed</h1>" in refused.text
    created = await closed.post("/keys", data={"name": "x", "scopes": ["admin"]}, headers=headers)
    assert created.status_code == 403
    assert len(await api_keys.list_all()) == 1


async def test_anybody_on_an_open_service_creates_no_keys(client: httpx.AsyncClient) -> None:
    assert (await client.get("/keys", headers=BROWSER)).status_code == 403
    assert (await client.post("/keys", data={"name": "x", "scopes": ["read"]}, headers=BROWSER)).status_code == 403
    assert await api_keys.list_all() == []


INVALID_FORMS: list[dict[str, str | list[str]]] = [
    {"name": "", "scopes": ["read"]},
    {"name": "x" * 65, "scopes": ["read"]},
    {"name": "x"},
    {"name": "x", "scopes": ["everything"]},
    {"name": "x", "scopes": ["read"], "days": "31"},
]


async def test_invalid_forms_are_refused(closed: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    headers = await headers_of(ADMIN)
    for form in INVALID_FORMS:
        with subtests.test(str(form)[:80]):
            refused = await closed.post("/keys", data=form, headers=headers)
            assert refused.status_code == 422
            assert len(await api_keys.list_all()) == 1


async def test_what_a_key_may_not_do_is_not_offered(closed: httpx.AsyncClient) -> None:
    reader, writer = await headers_of([Scope.READ]), await headers_of([Scope.READ, Scope.WRITE])
    admin = await headers_of(ADMIN)
    start = {"reader": reader, "writer": writer, "admin": admin}
    pages = {name: (await closed.get("/", headers=headers)).text for name, headers in start.items()}
    assert "may not upload images" in pages["reader"]
    assert 'id="upload"' in pages["writer"]
    assert [name for name, text in pages.items() if 'href="/keys"' in text] == ["admin"]
    await closed.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers={**writer, "Prefer": "wait=30"})
    model = {"name": "shapes"}
    assert (await closed.post("/models", json=model, headers=writer)).status_code == 201
    for path, change in (
        *(("/history", 'id="chosen"'), ("/history/1", "Is that right?"), ("/history/1", "data-delete")),
        *(("/history", 'href="/review"'), ("/review", '<button class="choice"')),
        *(("/teach/shapes", 'id="examples"'), ("/teach/shapes", 'id="train"'), ("/teach/shapes", "Delete this model")),
    ):
        shown = [name for name, headers in start.items() if change in (await closed.get(path, headers=headers)).text]
        assert shown == ["writer", "admin"], path


ERRORS = [
    ("GET", "/nothing", 404, "Not found"),
    ("GET", "/predictions/99", 404, "Not found"),
    ("DELETE", "/history", 405, "Not allowed"),
    ("GET", "/predictions/?limit=x", 422, "That cannot be processed"),
    ("POST", "/history/1/deletion", 403, "Not allowed"),
]


async def test_browsers_get_every_error_as_a_page(closed: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for method, path, status, title in ERRORS:
        with subtests.test(f"{method} {path}"):
            headers = await headers_of([Scope.READ]) if method != "DELETE" else await headers_of(ADMIN)
            answer = await closed.request(method, path, headers=headers)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert f"<h1>{title}</h1>" in answer.text
            assert int(answer.headers["content-length"]) == len(answer.content)
            program = await closed.request(method, path, headers={**headers, "Accept": "*/*"})
            assert program.status_code == status
            assert path.startswith("/history/1") or program.headers["content-type"].endswith("json")


async def test_error_page_keeps_the_headers_of_the_error(closed: httpx.AsyncClient) -> None:
    refused = await closed.post("/predictions/", headers=BROWSER)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert 'href="/sign-in"' in refused.text
    assert "<nav" not in refused.text
    wrong = await closed.request("PATCH", "/statistics", headers=await headers_of(ADMIN))
    assert wrong.status_code == 405
    assert "GET" in wrong.headers["allow"]
    head = await closed.head("/nothing", headers=await headers_of(ADMIN))
    assert (head.status_code, head.content) == (404, b"")
