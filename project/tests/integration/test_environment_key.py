"""API_KEY: one key from the environment."""

from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from app.config import Settings
from app.db.crud import api_keys
from app.domain import Scope
from tests.integration.conftest import serving
from tests.pictures import jpeg

KEY = "correct-horse-battery-staple"
FILES: Any = {"file": ("a.jpg", jpeg())}


def with_key(settings: Settings, key: str | None, **changes: Any) -> Settings:
    return settings.model_copy(update={"api_key": SecretStr(key) if key else None, **changes})


async def status(client: httpx.AsyncClient, key: str) -> int:
    return (await client.get("/predictions/", headers={"X-API-Key": key} if key else {})).status_code


async def test_key_of_the_environment_is_required_and_suffices(settings: Settings) -> None:
    async with serving(with_key(settings, KEY, host="0.0.0.0")) as client:
        assert await status(client, "") == 401
        assert await status(client, KEY + "x") == 401
        assert await status(client, KEY) == 200
        posted = await client.post("/predictions/", files=FILES, headers={"Authorization": f"Bearer {KEY}"})
        assert posted.status_code == 201
        signed_in = await client.post("/sign-in", data={"key": KEY}, headers={"Sec-Fetch-Site": "same-origin"})
        assert signed_in.status_code == 303
        assert await status(client, "") == 200


async def test_key_ends_once_another_or_none_is_set(settings: Settings) -> None:
    async with serving(with_key(settings, KEY)) as client:
        assert await status(client, KEY) == 200
    async with serving(with_key(settings, KEY[::-1])) as client:
        assert await status(client, KEY) == 401
        assert await status(client, KEY[::-1]) == 200
        _, made = await api_keys.create("anna", [Scope.READ], None, "test")
    async with serving(with_key(settings, None, allow_anonymous=False)) as client:
        assert await status(client, KEY[::-1]) == 401
        assert await status(client, made) == 200
    async with serving(with_key(settings, KEY)) as client:
        assert await status(client, KEY) == 200


async def test_anonymous_requests_may_be_allowed_beside_it(settings: Settings) -> None:
    async with serving(with_key(settings, KEY, allow_anonymous=True)) as client:
        assert await status(client, "") == 200


@pytest.mark.parametrize(
    "key",
    ["fifteen-letters", "with a blank in it", "ic_0123456789abcdef", "ümlaut-ümlaut", 257 * "x", "line\nbreak-line"],
)
def test_unusable_key_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="must be 16 to 256 ASCII characters without blanks"):
        Settings(api_key=SecretStr(key))
