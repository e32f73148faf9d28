"""Reviews predictions through a client: the helper that tests share."""

from typing import Any

import httpx


async def review(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/predictions/review", json=fields)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result
