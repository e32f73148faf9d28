"""What API keys keep apart: idempotency keys, webhook URLs, streams of revoked keys, and the scope ``upload``."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.api import events
from app.api.middleware import anonymous, auth
from app.config import Settings
from app.db.crud import api_keys
from app.db.notifications import POLL_SECONDS
from app.domain import Scope
from tests.integration.conftest import serving
from tests.pictures import jpeg

pytestmark = pytest.mark.process

SECRET = SecretStr("whsec_" + "c2VjcmV0" * 5)
HOOK = "http://127.0.0.1:9/hook?token=confidential"


@pytest.fixture
async def closed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that requires keys and does not cache them."""
    monkeypatch.setattr(auth, "CALLER_CACHE_SECONDS", 0.0)
    monkeypatch.setattr(anonymous, "KEY_CHECK_SECONDS", 0.0)
    changed = {"allow_anonymous": False, "webhook_secret": SECRET, "webhooks_to_private": True}
    async with serving(settings.model_copy(update=changed)) as client:
        yield client


async def new_key(*scopes: Scope) -> tuple[int, dict[str, str]]:
    """The ID of a new key, and the header that sends it."""
    key_id, key = await api_keys.create("a test", scopes, timedelta(hours=1), "a tester")
    return key_id, {"X-API-Key": key}


async def upload(client: httpx.AsyncClient, key: dict[str, str], **more: Any) -> httpx.Response:
    headers = {**key, "Prefer": "wait=30", **more.pop("headers", {})}
    return await client.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers=headers, **more)


async def test_idempotency_keys_belong_to_their_api_key(closed: httpx.AsyncClient) -> None:
    (_, one), (_, other) = await new_key(Scope.WRITE), await new_key(Scope.WRITE)
    same = {"Idempotency-Key": "order-17"}
    first = await upload(closed, one, headers=same)
    again = await upload(closed, one, headers=same)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    others = await upload(closed, other, headers=same)
    assert others.status_code == 201
    assert others.json()["id"] != first.json()["id"]
    assert "Idempotency-Replayed" not in others.headers
    # Neither does it say whether another key was used.
    different = await closed.post(
        "/predictions/", files={"file": jpeg(300)}, headers={**(await new_key(Scope.WRITE))[1], **same}
    )
    assert different.status_code == 201
    batches = [
        (await closed.post("/predictions/batch", files=[("file", jpeg())], headers={**key, **same})).json()
        for key in (one, other)
    ]
    assert len({batch["items"][0]["prediction"]["id"] for batch in batches}) == 2


async def test_key_that_may_not_read_gets_nothing_back_of_others(closed: httpx.AsyncClient) -> None:
    (_, reads), (_, writes) = await new_key(Scope.READ, Scope.WRITE), await new_key(Scope.WRITE)
    url = f"/predictions/{(await upload(closed, reads)).json()['id']}"
    correction = {"top_prediction": "cat", "confidence": 1}
    for answer in (
        await closed.post(f"{url}/reclassify", headers=writes),
        await closed.post(f"{url}/reclassify", headers={**writes, "Prefer": "wait=30"}),
        await closed.put(f"{url}/", json=correction, headers=writes),
    ):
        assert answer.status_code == 204
        assert answer.content == b""
        async with asyncio.timeout(30):
            while (await closed.get(url, headers=reads)).json()["status"] != "succeeded":
                await asyncio.sleep(0.01)
    assert (await closed.get(url, headers=reads)).json()["top_prediction"] == "cat"
    assert (await closed.put(f"{url}/", json=correction, headers=reads)).json()["top_prediction"] == "cat"
    deleted = await closed.delete(url, headers=writes)
    assert deleted.status_code == 204
    assert deleted.content == b""
    assert (await closed.get(url, headers=reads)).status_code == 404


async def test_only_its_creator_sees_the_url_of_a_webhook(closed: httpx.AsyncClient) -> None:
    (_, one), (_, other), (_, admin) = (
        await new_key(Scope.READ, Scope.WRITE),
        await new_key(Scope.READ),
        await new_key(Scope.ADMIN),
    )
    url = f"/predictions/{(await upload(closed, one, data={'webhook_url': HOOK})).json()['id']}/deliveries"
    assert [delivery["url"] for delivery in (await closed.get(url, headers=one)).json()] == [HOOK]
    for key in (other, admin):
        answer = await closed.get(url, headers=key)
        assert [delivery["url"] for delivery in answer.json()] == ["http://127.0.0.1:9"]
        assert "confidential" not in answer.text


async def streamed(client: httpx.AsyncClient, path: str, key: dict[str, str]) -> str:
    return (await client.get(path, headers=key)).text


async def test_streams_end_when_the_key_is_revoked(closed: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    key_id, key = await new_key(Scope.READ)
    assert events.RECHECK_SECONDS + auth.CALLER_CACHE_SECONDS + POLL_SECONDS <= 5
    monkeypatch.setattr(events, "RECHECK_SECONDS", 0.1)
    stream = asyncio.create_task(streamed(closed, "/events", key))
    await asyncio.wait([stream], timeout=0.5)
    assert not stream.done()
    assert await api_keys.revoke(key_id, "a tester")
    async with asyncio.timeout(5):
        assert set(await stream) <= set(events.KEEP_ALIVE)


OTHERS_AFFAIRS = [
    ("GET", "/events"),
    ("GET", "/statistics"),
    ("GET", "/models"),
    ("GET", "/metrics"),
    ("GET", "/predictions/export"),
    ("GET", "/predictions/1/history"),
    ("GET", "/predictions/1/heatmap"),
    ("GET", "/history"),
    ("GET", "/"),
    ("PUT", "/predictions/1/"),
    ("DELETE", "/predictions/1/"),
    ("POST", "/predictions/1/reclassify"),
    ("POST", "/predict/nothing"),
    ("POST", "/classifications"),
    ("POST", "/history/1/deletion"),
]


async def test_scope_upload_allows_uploads_and_reading_these(
    closed: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    (_, one), (_, other), (_, reads) = (
        await new_key(Scope.UPLOAD),
        await new_key(Scope.UPLOAD),
        await new_key(Scope.READ),
    )
    mine = (await upload(closed, one)).json()
    assert mine["status"] == "succeeded"
    batch = await closed.post("/predictions/batch", files=[("file", jpeg())] * 2, headers=one)
    assert batch.json()["accepted"] == 2
    others = (await upload(closed, other)).json()
    for path in ("", "image", "events", "deliveries", "?wait=1"):
        assert (await closed.get(f"/predictions/{mine['id']}/{path}", headers=one)).status_code == 200, path
        assert (await closed.get(f"/predictions/{others['id']}/{path}", headers=one)).status_code == 404, path
        assert (await closed.get(f"/predictions/{mine['id']}/{path}", headers=reads)).status_code == 200, path
    assert [row["id"] for row in (await closed.get("/predictions/", headers=other)).json()] == [others["id"]]
    assert len((await closed.get("/predictions/?status=succeeded&limit=500", headers=one)).json()) >= 1
    assert len((await closed.get("/predictions/", headers=one)).json()) == 3
    assert len((await closed.get("/predictions/", headers=reads)).json()) == 4
    for method, path in OTHERS_AFFAIRS:
        with subtests.test(method=method, path=path):
            answer = await closed.request(method, path, headers=one)
            assert answer.status_code == 403, answer.text
            assert answer.json()["code"] == "scope_missing"
    for number in ("x", "0", "9" * 30, "٣"):
        assert (await closed.get(f"/predictions/{number}/", headers=one)).status_code in {403, 404, 422}
