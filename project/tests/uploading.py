"""Uploads an image through a client: the helper that all tests share."""

from collections.abc import Mapping
from typing import Any, Final

import httpx

from tests.pictures import jpeg

WAIT: Final = {"Prefer": "wait=30"}


async def upload(
    client: httpx.AsyncClient,
    data: bytes | None = None,
    *,
    name: str = "a.jpg",
    key: str | None = None,
    wait: bool = False,
    headers: Mapping[str, str] | None = None,
    **fields: str,
) -> httpx.Response:
    """Upload one image, by default an ordinary JPEG. ``fields`` are further fields of the form."""
    sent = {**(headers or {}), **(WAIT if wait else {})}
    if key is not None:
        sent["Idempotency-Key"] = key
    files = {"file": (name, jpeg() if data is None else data)}
    return await client.post("/predictions/", files=files, data=fields, headers=sent)


async def classify(client: httpx.AsyncClient, data: bytes | None = None, *, name: str = "a.jpg") -> dict[str, Any]:
    """Upload one image, wait, and return the finished prediction."""
    response = await upload(client, data, name=name, wait=True)
    prediction: dict[str, Any] = response.json()
    assert prediction["status"] in {"succeeded", "failed"}, prediction
    return prediction
