"""Scripts of other origins use the API if CORS_ORIGINS names these, and only then."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import ValidationError

from app.api.session_cookie import PREFIX
from app.config import Settings
from tests.integration.conftest import serving
from tests.uploading import upload

pytestmark = pytest.mark.process

APP = "https://app.example.com"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "x-api-key, idempotency-key, prefer",
}


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    origins = f"{APP}, http://localhost:3000"
    async with serving(settings.model_copy(update={"cors_origins": origins, "allow_anonymous": True})) as client:
        yield client


async def test_preflight_of_a_known_origin_is_answered_without_a_key(client: httpx.AsyncClient) -> None:
    answer = await client.options("/predictions/", headers={"Origin": APP, **PREFLIGHT})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert "access-control-allow-credentials" not in answer.headers
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("x-api-key", "idempotency-key", "prefer"))


async def test_known_origin_may_upload_and_read_the_response(client: httpx.AsyncClient) -> None:
    for origin in (APP, "http://localhost:3000"):
        answer = await upload(client, headers={"Origin": origin, **CROSS_SITE})
        assert answer.status_code == 201
        assert answer.headers["access-control-allow-origin"] == origin
        assert "Location" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.com.evil.example", "null"])
async def test_other_origins_may_not(client: httpx.AsyncClient, origin: str) -> None:
    preflight = await client.options("/predictions/", headers={"Origin": origin, **PREFLIGHT})
    assert "access-control-allow-origin" not in preflight.headers
    answer = await upload(client, headers={"Origin": origin, **CROSS_SITE})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_known_origin_may_not_use_a_visitors_session(client: httpx.AsyncClient) -> None:
    answer = await upload(client, headers={"Origin": APP, **CROSS_SITE, "Cookie": f"{PREFIX}0=anything"})
    assert answer.status_code == 403


async def test_no_origin_is_known_by_default(settings: Settings) -> None:
    async with serving(settings) as client:
        preflight = await client.options("/predictions/", headers={"Origin": APP, **PREFLIGHT})
        assert "access-control-allow-origin" not in preflight.headers
        assert (await upload(client, headers={"Origin": APP, **CROSS_SITE})).status_code == 403


@pytest.mark.parametrize("origins", ["app.example.com", "https://app.example.com/page", "*", "ftp://app.example.com"])
def test_invalid_origins_are_refused(origins: str) -> None:
    with pytest.raises(ValidationError, match="must be origins such as"):
        Settings(cors_origins=origins)
