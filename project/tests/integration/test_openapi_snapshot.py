"""The snapshot of the HTTP contract. After a change, ``make openapi`` updates it."""

import json

import httpx

from app import PROJECT_DIR

SNAPSHOT = PROJECT_DIR / "docs" / "openapi.json"


async def test_contract_equals_the_snapshot(client: httpx.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()
    assert described == json.loads(SNAPSHOT.read_text()), "run `make openapi`, and look at what changed"
