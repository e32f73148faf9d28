"""The default model as people choose it: for uploads, in lists, on the page, and in the audit log."""

import shutil
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.db.crud import api_keys, audit_log
from app.domain import Scope
from tests.conftest import FALLBACK
from tests.integration.conftest import SECOND_MODEL, AddModel, serving
from tests.pictures import encoded, scene
from tests.uploading import classify

pytestmark = pytest.mark.process


@pytest.fixture
def client(two_model_client: httpx.AsyncClient) -> httpx.AsyncClient:
    return two_model_client


async def choose(client: httpx.AsyncClient, name: str | None) -> httpx.Response:
    return await client.put("/models/default", json={"name": name})


async def defaults(client: httpx.AsyncClient) -> list[str]:
    models = (await client.get("/models")).json()
    assert [model["default"] for model in models] == [True, *[False] * (len(models) - 1)]
    return [model["name"] for model in models if model["default"]]


async def test_chosen_model_classifies_uploads_that_name_none(client: httpx.AsyncClient) -> None:
    assert (await classify(client))["model"] == FALLBACK
    assert (await choose(client, SECOND_MODEL)).json() == {"name": SECOND_MODEL, "previous": None}
    assert (await classify(client))["model"] == SECOND_MODEL
    assert await defaults(client) == [SECOND_MODEL]
    # Rollback, to the choice before and to the setting.
    assert (await choose(client, FALLBACK)).json() == {"name": FALLBACK, "previous": SECOND_MODEL}
    assert (await classify(client))["model"] == FALLBACK
    assert (await choose(client, None)).json() == {"name": FALLBACK, "previous": FALLBACK}
    assert await defaults(client) == [FALLBACK]


async def test_choice_survives_a_restart(settings: Settings, two_models_dir: Path) -> None:
    settings = settings.model_copy(update={"models_dir": two_models_dir})
    async with serving(settings) as client:
        await choose(client, SECOND_MODEL)
    async with serving(settings) as client:
        assert (await classify(client))["model"] == SECOND_MODEL


UNKNOWN_NAMES = ["nothing", "", "x" * 65]


async def test_model_that_does_not_exist_cannot_be_chosen(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for name in UNKNOWN_NAMES:
        with subtests.test(name[:10]):
            assert (await choose(client, name)).status_code == 422
            assert await defaults(client) == [FALLBACK]


async def test_model_that_was_removed_is_no_longer_the_default(
    settings: Settings, folder: Path, add_model: AddModel
) -> None:
    add_model()
    removed = add_model(SECOND_MODEL)
    async with serving(settings.model_copy(update={"models_dir": folder})) as client:
        await choose(client, SECOND_MODEL)
        shutil.rmtree(removed)
        assert await defaults(client) == [FALLBACK]
        assert (await classify(client))["model"] == FALLBACK


async def test_name_of_the_path_is_reserved(client: httpx.AsyncClient) -> None:
    refused = await client.post("/models", json={"name": "default"})
    assert refused.status_code == 422
    assert "choose another name" in refused.text
    read = await client.get("/models/default")
    assert (read.status_code, read.headers["allow"]) == (405, "PUT")


async def test_choice_is_in_the_audit_log(client: httpx.AsyncClient) -> None:
    await choose(client, SECOND_MODEL)
    (entry,) = [entry for entry in await audit_log.page(10, None, None) if entry.action == "model.default_chosen"]
    assert entry.after == {"before": None, "after": SECOND_MODEL}


async def test_default_is_chosen_on_the_page(client: httpx.AsyncClient) -> None:
    html = {"Accept": "text/html"}
    text = (await client.get("/catalog", headers=html)).text
    assert text.count("Make it the default") == 1
    chosen = await client.post("/catalog/default", data={"name": SECOND_MODEL}, headers=html)
    assert (chosen.status_code, chosen.headers["location"]) == (303, "/catalog")
    assert await defaults(client) == [SECOND_MODEL]


async def test_two_models_are_compared_on_one_image(client: httpx.AsyncClient) -> None:
    html = {"Accept": "text/html"}
    assert "/catalog/comparison" in (await client.get("/catalog", headers=html)).text
    asked = {"first": FALLBACK, "second": SECOND_MODEL}
    form = await client.get("/catalog/comparison", params=asked, headers=html)
    assert f'action="/catalog/comparison?second={SECOND_MODEL}"' in form.text
    # Forms of other pages are limited to 64 KiB.
    data = encoded(scene(2000, 1500), "JPEG", quality=95)
    assert len(data) > 64 * 1024
    files = {"file": ("a.jpg", data)}
    path = f"/catalog/comparison?second={SECOND_MODEL}"
    sent = await client.post(path, data={"model": FALLBACK}, files=files, headers=html)
    assert (sent.status_code, sent.headers["location"]) == (303, "/catalog/comparison/1/2")
    assert [row["model"] for row in (await client.get("/predictions/")).json()] == [SECOND_MODEL, FALLBACK]
    # Both have the same network.
    assert "Both models give the same label" in (await client.get("/catalog/comparison/1/2", headers=html)).text
    refused = await client.post(path, files={"file": ("a.txt", b"no image")}, headers=html)
    assert refused.status_code == 400
    unknown = await client.post("/catalog/comparison?second=nothing", files=files, headers=html)
    assert unknown.status_code == 422


async def test_only_administrators_choose_the_default(client: httpx.AsyncClient) -> None:
    for scopes, status in (([Scope.READ, Scope.WRITE], 403), ([Scope.ADMIN], 200)):
        _, key = await api_keys.create("anna", scopes, None, "a test")
        headers = {"X-API-Key": key, "Accept": "text/html"}
        offered = "Make it the default" in (await client.get("/catalog", headers=headers)).text
        assert offered is (status == 200)
        answer = await client.put("/models/default", json={"name": SECOND_MODEL}, headers={"X-API-Key": key})
        assert answer.status_code == status, scopes
        form = await client.post("/catalog/default", data={"name": SECOND_MODEL}, headers=headers)
        assert form.status_code == (303 if status == 200 else 403), scopes
