"""Requests without an API key: from this machine only, and under known host names only."""

import httpx
import pytest
from pydantic import ValidationError

from app.api.middleware import anonymous
from app.config import Settings
from app.db.connection import execute
from app.db.crud import api_keys
from app.domain import Scope
from tests.integration.conftest import serving
from tests.pictures import jpeg

pytestmark = pytest.mark.process

LISTS = "/predictions/"
FORWARDING = [
    ("Forwarded", "for=192.0.2.60;proto=http"),
    ("X-Forwarded-For", "192.0.2.60"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "localhost"),
    ("X-Forwarded-Anything", ""),
    ("X-Real-IP", "192.0.2.60"),
    ("Via", "1.1 Caddy"),
    ("CF-Connecting-IP", "192.0.2.60"),
]
LOCAL_NAMES = ["localhost", "LOCALHOST:8004", "localhost.", "127.0.0.1:8004", "192.168.0.7", "[::1]:8004", "[fe80::1]"]
OTHER_NAMES = [
    "evil.example:8004",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example.",
    "localhost@evil.example",
    "[evil.example]",
    "0x7f.1",
]


@pytest.fixture(autouse=True)
def _keys_are_looked_up_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anonymous, "KEY_CHECK_SECONDS", 0.0)


def comes_from(client: httpx.AsyncClient, address: str) -> None:
    """Let the client's connections come from another address."""
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    transport.client = (address, 40_000)


async def status(client: httpx.AsyncClient, path: str = LISTS, **headers: str) -> int:
    return (
        await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    ).status_code


async def test_key_is_needed_behind_a_proxy_on_this_machine(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    assert await status(client) == 200
    for name, value in FORWARDING:
        with subtests.test(name):
            for path in (LISTS, "/models", "/metrics", "/history", "/"):
                answer = await client.get(path, headers={name: value})
                assert answer.status_code == 401, path
                assert answer.json()["code"] == "key_needed"
            answer = await client.post(LISTS, files={"file": jpeg()}, headers={name: value})
            assert answer.status_code == 401
            assert await status(client, "/health", **{name: value}) == 200


async def test_key_is_needed_from_other_addresses(client: httpx.AsyncClient) -> None:
    """Also if another program starts the server (``uvicorn app.main:app --host 0.0.0.0``)."""
    for address, expected in [("127.0.0.1", 200), ("127.8.7.6", 200), ("::1", 200), ("::ffff:127.0.0.1", 200),
                              ("10.0.0.7", 401), ("fe80::1%eth0", 401), ("", 401)]:  # fmt: skip
        comes_from(client, address)
        assert await status(client) == expected, address


async def test_key_is_needed_as_soon_as_one_exists(client: httpx.AsyncClient) -> None:
    assert await status(client) == 200
    key_id, key = await api_keys.create("a test", [Scope.READ], None, "a tester")
    assert await status(client) == 401
    assert await status(client, X_API_Key=key) == 200
    # Its host names are its own affair then.
    assert await status(client, X_API_Key=key, Host="photos.example") == 200
    assert await api_keys.revoke(key_id, "a tester")
    assert await status(client) == 200
    await api_keys.create("an expired one", [Scope.READ], None, "a tester")
    await execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
    assert await status(client) == 200


async def test_other_host_names_are_refused(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for name in LOCAL_NAMES:
        with subtests.test(name):
            assert await status(client, Host=name) == 200
    for name in OTHER_NAMES:
        with subtests.test(name):
            for path in (LISTS, "/", "/health", "/sign-in", "/static/style.css", "/nothing"):
                answer = await client.get(path, headers={"Host": name})
                assert answer.status_code == 421, path
                assert answer.json()["code"] == "host_not_allowed"
                assert "ALLOWED_HOSTS" in answer.json()["detail"]
            answer = await client.post(LISTS, files={"file": jpeg()}, headers={"Host": name})
            assert answer.status_code == 421
            assert (await client.delete("/predictions/1/", headers={"Host": name})).status_code == 421
    assert (await client.get(LISTS)).json() == []


async def test_request_without_a_host_needs_a_key(client: httpx.AsyncClient) -> None:
    assert await status(client, Host="") == 401
    assert (await client.get(LISTS, headers=[("Host", "localhost"), ("Host", "evil.example")])).status_code == 401


async def test_allowed_hosts_are_accepted_where_everybody_is(settings: Settings) -> None:
    hosts = "Photos.example, *.internal.example,"
    open_to_all = settings.model_copy(update={"allow_anonymous": True, "allowed_hosts": hosts, "host": "0.0.0.0"})
    async with serving(open_to_all) as client:
        comes_from(client, "10.0.0.7")
        for name in ("photos.example", "PHOTOS.example:80", "a.b.internal.example", "10.0.0.1", "localhost", ""):
            assert await status(client, Host=name, Via="1.1 nginx") == 200, name
        for name in ("internal.example", "xphotos.example", "photos.example.evil.example"):
            assert await status(client, Host=name) == 421, name
        _, key = await api_keys.create("a test", [Scope.READ], None, "a tester")
        assert await status(client, Host="photos.example") == 200
        assert await status(client, Host="evil.example", X_API_Key=key) == 421
    async with serving(settings.model_copy(update={"allow_anonymous": True, "allowed_hosts": "*"})) as client:
        assert await status(client, Host="anything.example") == 200


async def test_allowed_host_does_not_make_a_caller_local(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"allowed_hosts": "photos.example"})) as client:
        assert await status(client, Host="photos.example") == 401
        assert await status(client, Host="localhost") == 200


async def test_every_host_name_is_accepted_where_keys_are_needed(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"allow_anonymous": False})) as client:
        assert await status(client, Host="photos.example") == 401
        assert await status(client, "/health", Host="photos.example") == 200


@pytest.mark.parametrize(
    "value", ["https://photos.example", "photos.example:8004", "a b", "*.*", "ph*tos.example", "/"]
)
def test_invalid_host_name_is_rejected(value: str) -> None:
    with pytest.raises(ValidationError, match="without scheme and port"):
        Settings(allowed_hosts=value)
