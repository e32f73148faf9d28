"""Custom models through the API: their names, versions and answers."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from app.config import Settings
from app.db.crud import api_keys
from app.domain import DatabaseUnavailable, Scope
from tests.conftest import FALLBACK
from tests.drawings import circles, examples, noise, stripes, zipped
from tests.integration.conftest import AddModel, serving
from tests.teaching import ZIP, add, answer, create, taught, train
from tests.uploading import WAIT, classify, upload


async def test_model_learns_labels_from_folders(client: httpx.AsyncClient) -> None:
    model = await create(client)
    assert (model["base"], model["labels"], model["version"]) == (FALLBACK, [], None)
    batch = await add(client, examples(6))
    assert (batch["accepted"], batch["refused"]) == (12, 0)
    training = await train(client)
    # One that looks unlike the others would get the label other.
    assert [one["other"] for one in training["metrics"]["labels"]] == [0, 1]
    assert training["metrics"]["accuracy"] == 0.9167
    assert training["examples"] == 12
    for kind, draw in (("circle", circles), ("stripe", stripes)):
        for seed in range(100, 103):
            prediction = await answer(client, draw(seed))
            assert prediction["top_prediction"] == kind
            assert {score["label"] for score in prediction["all_predictions"]} == {"circle", "stripe"}
    assert prediction["model"] == "shapes"
    model = (await client.get("/models/shapes")).json()
    assert (model["version"], model["model_version"]) == (1, prediction["model_version"])
    assert model["labels"] == [{"label": label, "learn": 6, "check": 0} for label in ("circle", "stripe")]
    (listed,) = [one for one in (await client.get("/models")).json() if one["name"] == "shapes"]
    assert (listed["status"], listed["base"], listed["labels"]) == ("ok", FALLBACK, 2)
    assert (await client.get("/models/shapes/labels")).json() == ["circle", "stripe"]


async def test_image_unlike_all_examples_is_other(client: httpx.AsyncClient) -> None:
    await taught(client, 10)
    prediction = await answer(client, noise(1))
    assert prediction["top_prediction"] == "other"
    assert sum(score["confidence"] for score in prediction["all_predictions"]) == pytest.approx(1, abs=1e-4)


async def test_model_without_a_version_is_refused(client: httpx.AsyncClient) -> None:
    await create(client)
    response = await upload(client, model="shapes")
    assert response.status_code == 422
    assert "is not trained yet" in response.json()["detail"][0]["msg"]


@pytest.mark.parametrize("name", ["shapes", FALLBACK])
async def test_name_of_another_model_is_refused(client: httpx.AsyncClient, name: str) -> None:
    await create(client)
    response = await client.post("/models", json={"name": name})
    assert (response.status_code, response.json()["code"]) == (409, "model_exists")


INVALID_MODELS = [
    {"name": "a/b"},
    {"name": ""},
    {"name": "a", "base": "missing"},
    {"name": "a", "base": "shapes"},
    {"name": "a", "labels": ["other"]},
    {"name": "a", "labels": ["x", "x"]},
    {"name": "a", "labels": [" "]},
    {"name": "a", "labels": ["a\u0000b"]},
    {"name": "a", "retrain_after": -1},
]


async def test_invalid_models_are_refused(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    await taught(client, 3)
    for body in INVALID_MODELS:
        with subtests.test(str(body)):
            response = await client.post("/models", json=body)
            assert response.status_code == 422, response.text
            assert (await client.get("/models/a")).status_code == 404


async def test_unknown_models_are_404(client: httpx.AsyncClient) -> None:
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/examples"),
        ("DELETE", "/examples/1"),
        ("POST", "/train"),
        ("GET", "/trainings"),
        ("GET", "/trainings/1"),
    ):
        response = await client.request(method, f"/models/missing{path}")
        assert (response.status_code, response.json()["code"]) == (404, "model_unknown"), path
    assert (await client.put("/models/missing/version", json={"version": 1})).status_code == 404
    assert (await client.put("/models/missing/examples/1", json={"label": "a"})).status_code == 404


async def test_earlier_version_is_served_again(client: httpx.AsyncClient) -> None:
    await taught(client)
    first = (await client.get("/models/shapes")).json()["model_version"]
    await add(client, examples(2, first=20))
    assert (await train(client))["served"]
    second = (await answer(client, circles(100)))["model_version"]
    assert second != first
    model = (await client.put("/models/shapes/version", json={"version": 1})).json()
    assert model["model_version"] == first
    assert (await answer(client, circles(100)))["model_version"] == first
    assert (await client.put("/models/shapes/version", json={"version": 9})).status_code == 404


async def test_served_version_says_who_chose_it(client: httpx.AsyncClient) -> None:
    await taught(client)
    # Half of the labels are wrong now.
    await add(client, {f"stripe/{n}.jpg": circles(30 + n) for n in range(6)})
    await add(client, {f"circle/{n}.jpg": stripes(30 + n) for n in range(6)})
    training = await train(client)
    assert not training["served"]
    assert training["decision"].endswith(" Not served.")
    await client.put("/models/shapes/version", json={"version": training["version"]})
    read = (await client.get(f"/models/shapes/trainings/{training['id']}")).json()
    assert read["decision"].endswith(" Served by anonymous.")


async def test_labels_with_percent_signs_are_shown(client: httpx.AsyncClient) -> None:
    labels = ["50%", "100% of %(x)s"]
    await create(client, labels=labels)
    await add(client, {f"{labels[0]}/1.jpg": circles(1), f"{labels[1]}/1.jpg": stripes(1)})
    assert "50%" in (await train(client))["error"]["message"]
    html = {"Accept": "text/html"}
    page = await client.get("/teach/shapes", headers=html)
    assert (page.status_code, "2 more of" in page.text) == (200, True)
    form = {"label": "50%"}
    refused = await client.post(
        "/teach/shapes/examples", data=form, files={"file": ("a.jpg", stripes(1))}, headers=html
    )
    assert (refused.status_code, "100% of %(x)s" in refused.text) == (200, True)


@pytest.mark.parametrize("label", ["\u200b", "\u202e\u2066", "\u00ad", "\u0301"])
async def test_invisible_labels_are_refused(client: httpx.AsyncClient, label: str) -> None:
    refused = await client.post("/models", json={"name": "shapes", "labels": [label]})
    assert (refused.status_code, "visible" in refused.text) == (422, True)
    assert (await client.post("/models", json={"name": "shapes", "labels": ["👩\u200d🔬", "नी"]})).status_code == 201


async def test_deleted_images_are_not_among_wrong_answers(client: httpx.AsyncClient) -> None:
    await create(client)
    await add(client, {**examples(5), "stripe/wrong.jpg": circles(60)})
    training = await train(client)
    path = f"/models/shapes/trainings/{training['id']}/wrong"
    (wrong,) = (await client.get(path)).json()
    await client.delete(f"/predictions/{wrong['prediction_id']}/")
    assert (await client.get(path)).json() == []


async def test_predictions_of_custom_models_have_no_heat_map(client: httpx.AsyncClient) -> None:
    await taught(client)
    prediction = await answer(client, circles(100))
    refused = await client.get(f"/predictions/{prediction['id']}/heatmap")
    assert (refused.status_code, refused.json()["code"]) == (404, "not_explainable")


async def test_deleted_model_leaves_its_predictions(client: httpx.AsyncClient) -> None:
    await taught(client)
    prediction = await answer(client, circles(100))
    assert (await client.delete("/models/shapes")).status_code == 204
    assert (await client.get("/models/shapes")).status_code == 404
    assert (await client.get(f"/predictions/{prediction['id']}/")).json() == prediction
    assert (await upload(client, model="shapes")).status_code == 422
    # The name is free again, and nothing of the former model is left.
    assert (await create(client))["labels"] == []


async def test_reclassification_with_a_custom_model(client: httpx.AsyncClient) -> None:
    await taught(client)
    prediction = await classify(client, circles(100))
    assert prediction["model"] == FALLBACK
    response = await client.post(f"/predictions/{prediction['id']}/reclassify/", json={"model": "shapes"}, headers=WAIT)
    assert (response.status_code, response.json()["top_prediction"]) == (202, "circle")


@pytest.mark.parametrize(
    "path", ["/models/%00", "/models/a%00b/examples", "/models/x/examples?label=%00", "/teach/%00"]
)
async def test_values_that_the_database_cannot_store_are_no_500(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in {404, 422}


async def test_page_refuses_invalid_values(client: httpx.AsyncClient) -> None:
    assert (await client.post("/teach", data={"name": "a b"})).status_code == 422
    assert (await client.post("/teach", data={"name": " shapes "})).status_code == 303
    assert (await client.post("/teach/shapes/version", data={"version": "9999999999"})).status_code == 422
    assert (await client.post(f"/teach/shapes/examples/{-(10**20)}/deletion")).status_code == 422


async def test_replaced_base_is_noticed(settings: Settings, folder: Any, add_model: AddModel) -> None:
    add_model()
    base = add_model("base")
    async with serving(settings.model_copy(update={"models_dir": folder})) as client:
        await create(client, base="base")
        await add(client, examples(4))
        assert (await train(client))["served"]
        manifest = (base / "model.toml").read_text()
        (base / "model.toml").write_text(manifest.replace('resize = "crop"', 'resize = "squash"'))
        async with asyncio.timeout(30):
            while (prediction := await answer(client, circles(100)))["status"] == "succeeded":
                await asyncio.sleep(0.2)
        assert prediction["error"]["code"] == "model_broken"
        assert "train it again" in prediction["error"]["message"]
        training = await train(client)
        assert training["served"]
        assert "base model was replaced" in training["decision"]
        refused = await client.put("/models/shapes/version", json={"version": 1})
        assert (refused.status_code, refused.json()["code"]) == (409, "version_unusable")
        assert (await answer(client, circles(100)))["top_prediction"] == "circle"


async def test_changes_of_models_are_in_the_audit_log(client: httpx.AsyncClient, database_url: str) -> None:
    await taught(client, 4)
    await train(client)
    # The second changes nothing.
    for _ in range(2):
        await client.put("/models/shapes/version", json={"version": 1})
    await client.delete("/models/shapes")
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT action FROM changes WHERE action LIKE 'model.%' ORDER BY id")
    await connection.close()
    assert [row["action"] for row in rows] == ["model.created", "model.served", "model.deleted"]


async def test_key_without_the_scope_read_gets_nothing_to_read(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"allow_anonymous": False})) as client:
        _, key = await api_keys.create("anna", [Scope.WRITE], None, "an operator")
        headers = {"X-API-Key": key}
        assert (await client.post("/models", json={"name": "shapes"}, headers=headers)).status_code == 204
        batch = zipped(examples(4))
        response = await client.post("/models/shapes/examples/batch", content=batch, headers={**headers, **ZIP})
        assert (response.status_code, response.content) == (204, b"")
        assert (await client.post("/models/shapes/train", headers={**headers, **WAIT})).status_code == 204
        body = {"label": "circle", "new_label": True}
        assert (await client.put("/models/shapes/examples/1", json=body, headers=headers)).status_code == 204
        assert (await client.put("/models/shapes/version", json={"version": 1}, headers=headers)).status_code == 204
        assert (await client.get("/models/shapes", headers=headers)).status_code == 403


async def test_models_are_listed_while_the_database_is_unavailable(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taught(client, 4)

    async def unavailable() -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr("app.db.crud.custom_models.served", unavailable)
    models = await client.get("/models")
    assert models.status_code == 200
    assert "shapes" in [model["name"] for model in models.json()]
