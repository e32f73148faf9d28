"""Rate limits and quotas of keys and addresses, counted over all processes."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from app.db.crud import api_keys, rate_limits
from app.db.crud.rate_limits import RateRequest
from app.domain import Scope
from tests.integration.conftest import serving
from tests.pictures import jpeg
from tests.uploading import upload

pytestmark = pytest.mark.process


def limited(settings: Settings, **limits: int | bool) -> Settings:
    return settings.model_copy(update=limits)


async def test_requests_are_limited_over_all_processes(settings: Settings) -> None:
    some = limited(settings, rate_limit_requests=10)
    async with serving(some) as client:
        answers = [await client.get("/predictions/") for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=10;w=60'
    assert [answer.headers["ratelimit"] for answer in answers][::9] == ['"requests";r=9;t=6', '"requests";r=0;t=60']
    # Another process, which has seen none of it.
    async with serving(some) as client:
        refused = await client.get("/predictions/")
        assert refused.status_code == 429
        assert refused.json()["code"] == "rate_limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 6
        assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
        assert refused.json()["detail"] == "More than 10 requests per minute: try again later."
        # Signs of life are not counted.
        assert (await client.get("/ping")).status_code == 200
        await execute("UPDATE rate_limits SET free_at = free_at - interval '6 seconds'")
        assert [(await client.get("/predictions/")).status_code for _ in range(2)] == [200, 429]


async def test_uploaded_bytes_are_limited(settings: Settings) -> None:
    size = len(jpeg())
    async with serving(limited(settings, rate_limit_bytes=3 * size)) as client:
        statuses = [(await client.post("/predictions/", files={"file": jpeg()})).status_code for _ in range(4)]
        assert statuses == [201, 201, 429, 429]
        read = await client.get("/predictions/")
        assert read.status_code == 200
        assert "ratelimit" not in read.headers
    await_free = "UPDATE rate_limits SET free_at = now()"
    async with serving(limited(settings, rate_limit_bytes=100)) as client:
        await execute(await_free)
        # What is larger than the quota has all of it to itself.
        answer = await client.post("/predictions/", files={"file": jpeg()})
        assert answer.status_code == 201
        assert re.fullmatch(r'"bytes";q=100;qu="content-bytes";w=60', answer.headers["ratelimit-policy"])
        assert answer.headers["ratelimit"] == '"bytes";r=0;t=60'


async def test_bytes_are_counted_as_they_arrive(settings: Settings) -> None:
    """A body of unknown length is estimated first: too high for a small upload, too low for a large batch."""
    size = len(jpeg()) + 500

    async def chunked(client: httpx.AsyncClient, path: str, files: int) -> httpx.Response:
        request = httpx.Request("POST", "http://x", files=[("file", (f"{n}.jpg", jpeg())) for n in range(files)])

        async def body() -> AsyncIterator[bytes]:
            yield request.read()

        return await client.post(path, content=body(), headers={"Content-Type": request.headers["content-type"]})

    async with serving(limited(settings, rate_limit_bytes=4 * size)) as client:
        statuses = [(await chunked(client, "/predictions/", 1)).status_code for _ in range(4)]
        assert statuses == [201, 429, 429, 429]
        await execute("UPDATE rate_limits SET free_at = now()")
        for _ in range(3):
            assert (await upload(client)).status_code == 201
        await execute("UPDATE rate_limits SET free_at = now()")
        assert (await chunked(client, "/predictions/batch", 12)).json()["accepted"] == 12
        refused = await upload(client)
        assert refused.status_code == 429
        # Three times the quota arrived; a minute later, most of it is still to be worked off.
        assert int(refused.headers["Retry-After"]) > 100


async def test_each_key_has_its_own_limit(settings: Settings) -> None:
    async with serving(limited(settings, rate_limit_requests=2, allow_anonymous=False)) as client:
        one, other = [(await api_keys.create(name, [Scope.READ], None, "a tester"))[1] for name in ("one", "other")]
        for key in (one, other):
            headers = {"X-API-Key": key}
            statuses = [(await client.get("/predictions/", headers=headers)).status_code for _ in range(3)]
            assert statuses == [200, 200, 429]
        # Trying keys is counted on the address.
        tried = [(await client.get("/predictions/", headers={"X-API-Key": "x"})).status_code for _ in range(3)]
        assert tried == [401, 401, 429]


async def test_concurrent_uploads_are_limited(settings: Settings) -> None:
    async with serving(limited(settings, max_uploads_each=2)) as client:
        gate = asyncio.Event()
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'

        async def body() -> AsyncIterator[bytes]:
            yield head
            await gate.wait()
            yield jpeg() + b"\r\n--x--\r\n"

        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        held = [asyncio.create_task(client.post("/predictions/", content=body(), headers=kind)) for _ in range(2)]
        await asyncio.wait(held, timeout=0.2)
        refused = await client.post("/predictions/", files={"file": jpeg()})
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        gate.set()
        assert {(await one).status_code for one in held} == {201}
        assert (await client.post("/predictions/", files={"file": jpeg()})).status_code == 201


async def test_stored_bytes_are_limited(settings: Settings) -> None:
    size = len(jpeg())
    async with serving(limited(settings, quota_bytes=2 * size + 10, allow_anonymous=False)) as client:
        key, other = [(await api_keys.create(name, [Scope.ADMIN], None, "a tester"))[1] for name in ("one", "other")]
        mine, others = {"X-API-Key": key}, {"X-API-Key": other}

        statuses = [(await upload(client, headers=mine)).status_code for _ in range(3)]
        assert statuses == [201, 201, 403]
        assert (await upload(client, headers=mine)).json()["code"] == "quota_exceeded"
        assert (await upload(client, headers=others)).status_code == 201
        batch = await client.post("/predictions/batch", files=[("file", ("a.jpg", jpeg()))] * 2, headers=others)
        assert sorted(item["status"] for item in batch.json()["items"]) == [201, 403]


@pytest.mark.usefixtures("connected")
async def test_concurrent_requests_of_one_client_are_counted_in_order() -> None:
    granted = await rate_limits.decide([RateRequest(subject, 1, 2) for subject in "abaab"])
    assert [one.allowed for one in granted] == [True, True, True, False, True]
    together = await asyncio.gather(
        *(rate_limits.decide([RateRequest("c", 1, 5), RateRequest("d", 1, 5)]) for _ in range(10))
    )
    assert sum(one.allowed for pair in together for one in pair) == 10
    await execute("UPDATE rate_limits SET free_at = now() - interval '1 second'")
    await rate_limits.delete_expired()
    assert await execute("SELECT * FROM rate_limits") == []
    assert RateRequest("a", 100, 10).cost == timedelta(minutes=1)
