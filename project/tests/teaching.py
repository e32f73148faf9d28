"""Teaches custom models through a client: the helpers that tests share."""

from typing import Any, Final

import httpx

from tests.drawings import examples, zipped
from tests.uploading import WAIT, upload

ZIP: Final = {"Content-Type": "application/zip"}


async def create(client: httpx.AsyncClient, name: str = "shapes", **fields: Any) -> dict[str, Any]:
    response = await client.post("/models", json={"name": name, **fields})
    assert response.status_code == 201, response.text
    model: dict[str, Any] = response.json()
    return model


async def add(client: httpx.AsyncClient, files: dict[str, bytes], name: str = "shapes") -> dict[str, Any]:
    response = await client.post(f"/models/{name}/examples/batch", content=zipped(files), headers=ZIP)
    assert response.status_code == 200, response.text
    batch: dict[str, Any] = response.json()
    return batch


async def train(client: httpx.AsyncClient, name: str = "shapes") -> dict[str, Any]:
    response = await client.post(f"/models/{name}/train", headers=WAIT)
    assert response.status_code == 202, response.text
    training: dict[str, Any] = response.json()
    assert training["status"] in {"succeeded", "failed"}, training
    return training


async def taught(client: httpx.AsyncClient, count: int = 6, **fields: Any) -> dict[str, Any]:
    """A trained model named shapes; returns its training."""
    await create(client, **fields)
    await add(client, examples(count))
    training = await train(client)
    assert training["served"], training
    return training


async def answer(client: httpx.AsyncClient, data: bytes) -> dict[str, Any]:
    response = await upload(client, data, wait=True, model="shapes")
    assert response.status_code == 201, response.text
    prediction: dict[str, Any] = response.json()
    return prediction
