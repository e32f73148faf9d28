"""Calls of other services: they work as their clients send them, and are marked in the documentation."""

from typing import Any

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from tests.integration.conftest import Upload, serving
from tests.pictures import jpeg

HTML = {"Accept": "text/html,application/xhtml+xml"}
FLOWER = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}


async def test_classification_tells_its_state_and_result(client: httpx.AsyncClient, upload: Upload) -> None:
    await upload(jpeg())
    (row,) = (await client.get("/predictions/")).json()
    for accept in ("application/json", "*/*"):
        answer = await client.get("/classifications/1", headers={"Accept": accept})
        assert answer.json() == {
            "task_status": "finished",
            "data": [[one["label"], round(100 * one["confidence"], 4)] for one in row["all_predictions"]],
        }
        assert answer.headers["vary"] == "Accept"
    assert "<table" in (await client.get("/classifications/1", headers=HTML)).text
    for path, status in {"/classifications/9": 404, "/classifications/x": 422}.items():
        missing = await client.get(path)
        assert missing.status_code == status
        assert "json" in missing.headers["content-type"]
        assert "<!doctype html>" in (await client.get(path, headers=HTML)).text


async def test_states_have_their_names(client: httpx.AsyncClient) -> None:
    await client.post("/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait"})
    for status, name in {"pending": "queued", "processing": "started", "failed": "failed"}.items():
        await execute("UPDATE predictions SET status = $1, all_predictions = NULL", [status])
        assert (await client.get("/classifications/1")).json() == {"task_status": name, "data": None}


@pytest.mark.parametrize("by", ["image", "image_id"])
async def test_form_takes_what_info_lists(client: httpx.AsyncClient, upload: Upload, by: str) -> None:
    await upload(jpeg())
    info = (await client.get("/info")).json()
    sent = {by: info["images"][0], "model_id" if by == "image_id" else "model": info["models"][0]}
    answer = await client.post("/classifications", data=sent)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/classifications/1"
    unknown = await client.post("/classifications", data={by: "2026/01/01/" + 32 * "0" + ".jpg"})
    assert unknown.status_code == 404
    assert (await client.post("/classifications", data={by: "nonsense"})).status_code == 422


@pytest.mark.all_models
async def test_default_model_takes_a_row_as_it_is_or_as_data(client: httpx.AsyncClient) -> None:
    named = (await client.post("/predict/iris_random_forest", json=FLOWER)).json()
    for body in (FLOWER, {"data": FLOWER}):
        for path in ("/predict", "/predict/"):
            answer = await client.post(path, json=body)
            assert answer.status_code == 200
            assert answer.json() == {**named, "prediction": "virginica"}
    default = (await client.get("/predict")).json()
    assert default["prediction"] == default["label"]
    assert (await client.get("/prediction")).json() == {"prediction": "Virginica"}


OTHER_BODIES = ["[]", "[{}]", "1", "{", '{"data": 1}', '{"data": {"petal_length": "x"}}']


@pytest.mark.all_models
async def test_other_bodies_are_422(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for body in OTHER_BODIES:
        with subtests.test(body):
            assert (await client.post("/predict", content=body)).status_code == 422


@pytest.mark.all_models
async def test_bounds_carry_their_context(client: httpx.AsyncClient) -> None:
    (item,) = (await client.post("/predict", json={"petal_length": 99})).json()["detail"]
    assert item["ctx"] == {"le": 10.0}
    (item,) = (await client.get("/predictions/?limit=0")).json()["detail"]
    assert item["ctx"] == {"ge": 1}


async def test_missing_default_model_is_404(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"tabular_model": "nonsense"})) as client:
        assert (await client.get("/predict")).status_code == 404
        assert (await client.post("/predict", json=FLOWER)).status_code == 404


async def test_aliases_are_marked_in_the_documentation(client: httpx.AsyncClient) -> None:
    paths: dict[str, Any] = (await client.get("/openapi.json")).json()["paths"]
    marked = {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method, operation in operations.items()
        if operation["tags"] == ["aliases"]
    }
    assert marked == {"GET /predict/", "POST /predict/", "GET /prediction/", "GET /classifications/{id}/"}
    for mark in marked:
        method, path = mark.split()
        assert paths[path][method.lower()]["summary"].startswith("Alias of ")
