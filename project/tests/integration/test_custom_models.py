"""Custom models through the API: examples, trainings, versions, and their answers."""

import asyncio
import signal
from typing import Any, Final

import asyncpg
import httpx
import psutil
import pytest

from app.classifier.heads.training import train_head
from app.config import Settings
from app.worker import training as training_module
from app.worker.engine_requests import EngineRequests
from tests.conftest import FALLBACK
from tests.drawings import circles, examples, noise, stripes, zipped
from tests.integration.conftest import AddModel, execute, serving
from tests.uploading import WAIT, classify, upload

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


async def test_model_learns_labels_from_folders(client: httpx.AsyncClient) -> None:
    model = await create(client)
    assert (model["base"], model["labels"], model["version"]) == (FALLBACK, [], None)
    batch = await add(client, examples(6))
    assert (batch["accepted"], batch["refused"]) == (12, 0)
    training = await train(client)
    assert training["metrics"]["accuracy"] == 1
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


async def test_same_examples_give_the_same_version(client: httpx.AsyncClient) -> None:
    first = await taught(client)
    model = (await client.get("/models/shapes")).json()
    await create(client, "again")
    await add(client, dict(reversed(examples(6).items())), "again")
    second = await train(client, "again")
    assert second["examples_sha256"] == first["examples_sha256"]
    assert second["metrics"]["confusion"] == [[6, 0], [0, 6]]
    again = (await client.get("/models/again")).json()
    # The order of the labels is that in which they were added.
    assert [one["label"] for one in again["labels"]] == ["stripe", "circle"]
    assert model["model_version"].startswith("1-")


async def test_model_without_a_version_is_refused(client: httpx.AsyncClient) -> None:
    await create(client)
    response = await upload(client, model="shapes")
    assert response.status_code == 422
    assert "has not been trained yet" in response.json()["detail"][0]["msg"]


@pytest.mark.parametrize("name", ["shapes", FALLBACK])
async def test_name_of_another_model_is_refused(client: httpx.AsyncClient, name: str) -> None:
    await create(client)
    response = await client.post("/models", json={"name": name})
    assert (response.status_code, response.json()["code"]) == (409, "model_exists")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a/b"},
        {"name": ""},
        {"name": "a", "base": "missing"},
        {"name": "a", "base": "shapes"},
        {"name": "a", "labels": ["other"]},
        {"name": "a", "labels": ["x", "x"]},
        {"name": "a", "labels": [" "]},
        {"name": "a", "labels": ["a\u0000b"]},
        {"name": "a", "retrain_after": -1},
    ],
)
async def test_invalid_models_are_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    await taught(client, 3)
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


async def test_files_outside_of_folders_have_no_label(client: httpx.AsyncClient) -> None:
    await create(client)
    batch = await add(client, {"loose.jpg": circles(1), "circle/a.jpg": circles(2), "other/b.jpg": circles(3)})
    assert [item["status"] for item in batch["items"]] == [422, 201, 422]
    assert "in no folder" in batch["items"][0]["error"]["message"]
    assert "'other'" in batch["items"][2]["error"]["message"]


async def test_files_that_are_no_images_are_refused_and_others_are_not(client: httpx.AsyncClient) -> None:
    await create(client)
    batch = await add(client, {"circle/a.jpg": circles(1), "circle/notes.txt": b"hello", "circle/b.jpg": circles(2)})
    assert [item["status"] for item in batch["items"]] == [201, 400, 201]
    assert (batch["accepted"], batch["refused"]) == (2, 1)


async def test_form_files_have_the_folder_in_their_names(client: httpx.AsyncClient) -> None:
    await create(client)
    files = [("file", (name, data)) for name, data in examples(2).items()]
    response = await client.post("/models/shapes/examples/batch", files=files)
    assert [item["example"]["label"] for item in response.json()["items"]] == ["circle", "circle", "stripe", "stripe"]


async def test_checked_pictures_are_not_learned(client: httpx.AsyncClient) -> None:
    await create(client)
    await add(client, {f"data/train/{name}": data for name, data in examples(4).items()})
    await add(client, {f"data/val/{name}": data for name, data in examples(2, first=50).items()})
    model = (await client.get("/models/shapes")).json()
    assert model["labels"] == [{"label": label, "learn": 4, "check": 2} for label in ("circle", "stripe")]
    assert (await train(client))["examples"] == 8


async def test_each_picture_is_one_example(client: httpx.AsyncClient) -> None:
    await create(client)
    batch = await add(client, {"circle/a.jpg": circles(1), "circle/copy.jpg": circles(1), "stripe/b.jpg": circles(1)})
    first, copy, contradiction = batch["items"]
    assert copy["example"] == first["example"]
    assert (contradiction["status"], contradiction["error"]["code"]) == (409, "example_contradicts")
    assert f"prediction {first['example']['prediction_id']}" in contradiction["error"]["message"]
    assert len((await client.get("/models/shapes/examples")).json()) == 1


async def test_example_is_changed_and_deleted(client: httpx.AsyncClient) -> None:
    await create(client, labels=["circle", "stripe"])
    path = f"/models/shapes/examples/{(await classify(client))['id']}"
    added = await client.put(path, json={"label": "circle"})
    assert (added.status_code, added.json()["label"], added.json()["use"]) == (200, "circle", "learn")
    changed = (await client.put(path, json={"label": "stripe", "use": "check"})).json()
    assert (changed["label"], changed["use"]) == ("stripe", "check")
    assert len((await client.get("/models/shapes/examples")).json()) == 1
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    assert (await client.put("/models/shapes/examples/999", json={"label": "circle"})).status_code == 404


async def test_new_label_is_added_only_when_asked_for(client: httpx.AsyncClient) -> None:
    await create(client, labels=["circle"])
    path = f"/models/shapes/examples/{(await classify(client))['id']}"
    refused = await client.put(path, json={"label": "square"})
    assert (refused.status_code, refused.json()["code"]) == (422, "label_unknown")
    assert (await client.put(path, json={"label": "square", "new_label": True})).status_code == 200
    model = (await client.get("/models/shapes")).json()
    assert [one["label"] for one in model["labels"]] == ["circle", "square"]


async def test_examples_are_listed_in_pages(client: httpx.AsyncClient) -> None:
    await create(client)
    await add(client, examples(3))
    first = await client.get("/models/shapes/examples", params={"limit": 4})
    second = await client.get(first.links["next"]["url"])
    found = [one["prediction_id"] for one in first.json() + second.json()]
    assert len(first.json()) == 4
    assert "next" not in second.links
    assert found == sorted(found, reverse=True)
    assert len(found) == len(set(found)) == 6
    stripes_only = await client.get("/models/shapes/examples", params={"label": "stripe"})
    assert {one["label"] for one in stripes_only.json()} == {"stripe"}
    assert (await client.get("/models/shapes/examples", params={"use": "check"})).json() == []


async def test_training_with_too_few_examples_says_how_many_are_missing(client: httpx.AsyncClient) -> None:
    await create(client, labels=["circle", "stripe"])
    await add(client, {"circle/1.jpg": circles(1), "stripe/1.jpg": stripes(1), "stripe/2.jpg": stripes(2)})
    training = await train(client)
    assert training["status"] == "failed"
    assert training["error"]["code"] == "examples_missing"
    assert "2 more of 'circle', 1 more of 'stripe'" in training["error"]["message"]


async def test_embeddings_are_computed_once(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await taught(client, 4)

    async def refuse(*_: object) -> None:
        raise AssertionError("an image was read although its embedding is stored")

    monkeypatch.setattr(EngineRequests, "embed", refuse)
    assert (await train(client))["version"] == 2


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


async def test_worse_version_waits_for_a_person(client: httpx.AsyncClient) -> None:
    await taught(client)
    # Circles that are called stripes spoil what the model knows of circles.
    spoiled = {f"stripe/{n}.jpg": circles(n) for n in range(200, 230)}
    await add(client, spoiled)
    training = await train(client)
    assert training["version"] == 2
    assert not training["served"]
    compared = training["metrics"]["compared"]
    assert compared["right_now"] < compared["right_before"] == compared["examples"] == 12
    assert "a person decides" in training["decision"]
    assert (await client.get("/models/shapes")).json()["version"] == 1
    assert (await client.put("/models/shapes/version", json={"version": 2})).json()["version"] == 2


async def test_wrong_answers_are_listed(client: httpx.AsyncClient) -> None:
    await create(client)
    batch = await add(client, examples(6) | {"stripe/wrong.jpg": circles(50)})
    wrong_id = batch["items"][-1]["example"]["prediction_id"]
    training = await train(client)
    wrong = (await client.get(f"/models/shapes/trainings/{training['id']}/wrong")).json()
    assert {"prediction_id": wrong_id, "label": "stripe", "answer": "circle"}.items() <= wrong[0].items()


async def test_correction_becomes_an_example(client: httpx.AsyncClient) -> None:
    await taught(client)
    prediction = await answer(client, circles(100))
    body = {"top_prediction": "stripe", "confidence": 1.0}
    assert (await client.put(f"/predictions/{prediction['id']}/", json=body)).status_code == 200
    newest = (await client.get("/models/shapes/examples", params={"limit": 1})).json()[0]
    assert (newest["prediction_id"], newest["label"]) == (prediction["id"], "stripe")
    other = await answer(client, circles(101))
    # A label that the model does not have is only a correction.
    await client.put(f"/predictions/{other['id']}/", json={"top_prediction": "square", "confidence": 1.0})
    assert (await client.get("/models/shapes/examples", params={"label": "square"})).json() == []
    body = {"top_prediction": "square", "confidence": 1.0, "new_label": True}
    await client.put(f"/predictions/{other['id']}/", json=body)
    (example,) = (await client.get("/models/shapes/examples", params={"label": "square"})).json()
    assert example["prediction_id"] == other["id"]
    third = await answer(client, circles(102))
    page = await client.get(f"/history/{third['id']}", headers={"Accept": "text/html"})
    assert "add it to the labels of shapes" in page.text
    form = {"label": "big square", "new_label": "true"}
    assert (await client.post(f"/history/{third['id']}/correction", data=form)).status_code == 303
    labels = [one["label"] for one in (await client.get("/models/shapes")).json()["labels"]]
    assert labels == ["circle", "stripe", "square", "big square"]


async def test_model_trains_by_itself_after_enough_new_examples(client: httpx.AsyncClient) -> None:
    await taught(client, retrain_after=3)
    for seed in range(100, 102):
        prediction = await answer(client, circles(seed))
        await client.put(f"/predictions/{prediction['id']}/", json={"top_prediction": "circle", "confidence": 1.0})
    model = (await client.get("/models/shapes")).json()
    assert (model["new_examples"], model["training"]) == (2, None)
    await add(client, {"circle/new.jpg": circles(102)})
    async with asyncio.timeout(30):
        while (await client.get("/models/shapes")).json()["version"] == 1:
            await asyncio.sleep(0.1)
    assert (await client.get("/models/shapes")).json()["new_examples"] == 0


async def test_deleted_model_leaves_its_predictions(client: httpx.AsyncClient) -> None:
    await taught(client)
    prediction = await answer(client, circles(100))
    assert (await client.delete("/models/shapes")).status_code == 204
    assert (await client.get("/models/shapes")).status_code == 404
    assert (await client.get(f"/predictions/{prediction['id']}/")).json() == prediction
    assert (await upload(client, model="shapes")).status_code == 422
    # The name is free again, and nothing of the former model is left.
    assert (await create(client))["labels"] == []


async def test_deleted_prediction_is_no_example_any_more(client: httpx.AsyncClient) -> None:
    await create(client)
    batch = await add(client, examples(4))
    gone = batch["items"][0]["example"]["prediction_id"]
    assert (await client.delete(f"/predictions/{gone}/")).status_code == 200
    training = await train(client)
    assert training["examples"] == 7


async def test_damaged_image_is_left_out_and_named(client: httpx.AsyncClient, settings: Settings) -> None:
    await create(client)
    batch = await add(client, examples(4))
    damaged = batch["items"][0]["example"]["prediction_id"]
    path = (await client.get(f"/predictions/{damaged}/")).json()["image_path"]
    (settings.uploads / path).write_bytes(b"not an image any more")
    training = await train(client)
    assert training["examples"] == 7
    assert training["metrics"]["unreadable"] == [damaged]


async def test_reclassification_with_a_custom_model(client: httpx.AsyncClient) -> None:
    await taught(client)
    prediction = await classify(client, circles(100))
    assert prediction["model"] == FALLBACK
    response = await client.post(f"/predictions/{prediction['id']}/reclassify/", json={"model": "shapes"}, headers=WAIT)
    assert (response.status_code, response.json()["top_prediction"]) == (202, "circle")


async def test_requests_for_a_training_in_progress_return_it(client: httpx.AsyncClient) -> None:
    await create(client)
    await add(client, examples(4))
    answers = await asyncio.gather(*(client.post("/models/shapes/train") for _ in range(5)))
    assert len({one.json()["id"] for one in answers}) == 1
    waited = await client.get(answers[0].headers["location"], headers=WAIT)
    assert waited.json()["status"] == "succeeded"
    assert len((await client.get("/models/shapes/trainings")).json()) == 1


async def test_training_survives_the_death_of_its_process(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that computes is killed; the training is repeated when its lease has expired."""
    monkeypatch.setattr(training_module, "LEASE", training_module.LEASE / 10)
    await create(client)
    await add(client, examples(4))
    killed: list[int] = []

    async def train_and_kill(*arguments: Any) -> Any:
        task = asyncio.create_task(train_head(*arguments))
        while not killed and not task.done():
            for child in psutil.Process().children():
                if "app.classifier.heads.process" in child.cmdline():
                    child.send_signal(signal.SIGKILL)
                    killed.append(child.pid)
            await asyncio.sleep(0.005)
        return await task

    monkeypatch.setattr(training_module, "train_head", train_and_kill)
    training = await train(client)
    assert killed
    assert training["status"] == "succeeded"


async def test_training_of_a_dead_service_is_taken_over(settings: Settings, database_url: str) -> None:
    """What a service leaves that was killed: a training in progress whose lease expires."""
    async with serving(settings) as client:
        await create(client)
        await add(client, examples(4))
    await execute(
        database_url,
        "INSERT INTO trainings (model_id, status, requested_at, started_at, lease_expires_at, attempts, who) "
        "SELECT id, 'processing', now(), now(), now() + interval '1 second', 1, 'anna' FROM custom_models",
    )
    async with serving(settings) as client:
        (training,) = (await client.get("/models/shapes/trainings")).json()
        assert training["status"] == "processing"
        ended = await client.get(f"/models/shapes/trainings/{training['id']}", headers=WAIT)
        assert (ended.json()["status"], ended.json()["version"]) == ("succeeded", 1)


async def test_training_that_ends_its_process_each_time_fails(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "LEASE", training_module.LEASE / 30)
    monkeypatch.setattr("app.classifier.heads.training.BASE_MEMORY_BYTES", 2**20)
    await create(client)
    await add(client, examples(4))
    training = await train(client)
    assert training["status"] == "failed"
    assert training["error"]["code"] == "training_failed"


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
        assert (await answer(client, circles(100)))["top_prediction"] == "circle"


async def test_changes_of_models_are_in_the_audit_log(client: httpx.AsyncClient, database_url: str) -> None:
    await taught(client)
    await client.put("/models/shapes/version", json={"version": 1})
    await client.delete("/models/shapes")
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("SELECT action FROM changes WHERE action LIKE 'model.%' ORDER BY id")
    await connection.close()
    assert [row["action"] for row in rows] == ["model.created", "model.served", "model.deleted"]
