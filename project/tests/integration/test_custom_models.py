"""Custom models through the API: examples, trainings, versions, and their answers."""

import asyncio
import signal
from contextlib import suppress
from typing import Any, Final

import asyncpg
import httpx
import psutil
import pytest

from app.classifier.heads.training import train_head
from app.config import Settings
from app.db.crud import api_keys
from app.domain import DatabaseUnavailable, Scope, StorageUnavailable, TrainingInterrupted
from app.storage import make_storage
from app.storage.retention import retain
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
    first = await taught(client, labels=["circle", "stripe"])
    model = (await client.get("/models/shapes")).json()
    await create(client, "again", labels=["circle", "stripe"])
    await add(client, dict(reversed(examples(6).items())), "again")
    second = await train(client, "again")
    assert second["examples_sha256"] == first["examples_sha256"]
    assert (await client.get("/models/again")).json()["model_version"] == model["model_version"]


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
    assert "not in a folder" in batch["items"][0]["error"]["message"]
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


async def test_images_for_checks_are_not_learned_but_classified(client: httpx.AsyncClient) -> None:
    await create(client)
    await add(client, {f"data/train/{name}": data for name, data in examples(4).items()})
    checked = {f"data/val/{name}": data for name, data in examples(2, first=50).items()}
    await add(client, checked | {"data/val/stripe/wrong.jpg": circles(60)})
    model = (await client.get("/models/shapes")).json()
    assert [(one["label"], one["learn"], one["check"]) for one in model["labels"]] == [
        ("circle", 4, 2),
        ("stripe", 4, 3),
    ]
    training = await train(client)
    assert training["examples"] == 8
    assert (training["metrics"]["check"]["examples"], training["metrics"]["check"]["accuracy"]) == (5, 0.8)


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
    assert training["decision"].endswith("Not served.")
    assert (await client.get("/models/shapes")).json()["version"] == 1
    assert (await client.put("/models/shapes/version", json={"version": 2})).json()["version"] == 2


async def test_wrong_answers_are_listed(client: httpx.AsyncClient) -> None:
    await create(client)
    batch = await add(client, examples(6) | {"stripe/wrong.jpg": circles(50)})
    wrong_id = batch["items"][-1]["example"]["prediction_id"]
    training = await train(client)
    wrong = (await client.get(f"/models/shapes/trainings/{training['id']}/wrong")).json()
    assert [(one["prediction_id"], one["label"], one["answer"]) for one in wrong] == [(wrong_id, "stripe", "circle")]


async def test_correction_becomes_an_example(client: httpx.AsyncClient) -> None:
    await taught(client)
    prediction = await answer(client, circles(100))
    body = {"top_prediction": "stripe", "confidence": 1.0}
    assert (await client.put(f"/predictions/{prediction['id']}/", json=body)).status_code == 200
    newest = (await client.get("/models/shapes/examples", params={"limit": 1})).json()[0]
    assert (newest["prediction_id"], newest["label"]) == (prediction["id"], "stripe")
    other = await answer(client, circles(101))
    # A label that the model does not have is only a correction, and the example, whose label was wrong, is deleted.
    await client.put(f"/models/shapes/examples/{other['id']}", json={"label": "circle"})
    await client.put(f"/predictions/{other['id']}/", json={"top_prediction": "square", "confidence": 1.0})
    assert (await client.get("/models/shapes/examples", params={"label": "square"})).json() == []
    assert (await client.delete(f"/models/shapes/examples/{other['id']}")).status_code == 404
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
                # It may end at any moment.
                with suppress(psutil.Error):
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


async def test_training_above_its_memory_limit_fails(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.classifier.heads.training.BASE_MEMORY_BYTES", 2**20)
    await create(client)
    await add(client, examples(4))
    training = await train(client)
    assert training["status"] == "failed"
    assert training["error"]["code"] == "training_failed"


async def test_training_whose_process_ends_each_time_fails(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "LEASE", training_module.LEASE / 30)
    attempts = 0

    async def interrupted(*_: object) -> None:
        nonlocal attempts
        attempts += 1
        raise TrainingInterrupted

    monkeypatch.setattr(training_module, "train_head", interrupted)
    await create(client)
    await add(client, examples(4))
    training = await train(client)
    assert training["error"]["message"] == "The process ended in all 3 attempts."
    assert attempts == 3


async def test_outages_are_not_counted_as_attempts(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "LEASE", training_module.LEASE / 30)
    outages = 5

    async def unavailable_at_first(*arguments: Any) -> Any:
        nonlocal outages
        if outages:
            outages -= 1
            raise StorageUnavailable
        return await train_head(*arguments)

    monkeypatch.setattr(training_module, "train_head", unavailable_at_first)
    await create(client)
    await add(client, examples(4))
    assert (await train(client))["status"] == "succeeded"


async def test_deleted_model_ends_its_training(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_module, "RENEW_SECONDS", 0.05)
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless(*_: object) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(training_module, "train_head", endless)
    await create(client)
    await add(client, examples(4))
    await client.post("/models/shapes/train")
    async with asyncio.timeout(20):
        await started.wait()
        assert (await client.delete("/models/shapes")).status_code == 204
        await ended.wait()
    monkeypatch.undo()
    # The next training is not affected.
    await taught(client, 4)


async def test_choice_of_a_person_during_a_training_stays(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taught(client)
    await train(client)

    async def choose_first(*arguments: Any) -> Any:
        # The service decides after this, by the version that was served at the start.
        result = await train_head(*arguments)
        assert (await client.put("/models/shapes/version", json={"version": 1})).status_code == 200
        return result

    monkeypatch.setattr(training_module, "train_head", choose_first)
    third = await train(client)
    assert (third["version"], third["served"]) == (3, False)
    assert (await client.get("/models/shapes")).json()["version"] == 1


async def test_labels_of_refused_examples_are_not_added(client: httpx.AsyncClient) -> None:
    await create(client)
    await add(client, {"circle/1.jpg": circles(1), "square/2.jpg": circles(1), "text/3.jpg": b"hello"})
    response = await client.put("/models/shapes/examples/999", json={"label": "round", "new_label": True})
    assert response.status_code == 404
    assert [one["label"] for one in (await client.get("/models/shapes")).json()["labels"]] == ["circle"]


async def test_labels_without_examples_do_not_prevent_a_training(client: httpx.AsyncClient) -> None:
    await create(client, labels=["square", "circle", "stripe"])
    await add(client, examples(4))
    training = await train(client)
    assert [one["label"] for one in training["metrics"]["labels"]] == ["circle", "stripe"]
    assert (await answer(client, circles(100)))["top_prediction"] == "circle"


async def test_label_comes_from_the_whole_path(client: httpx.AsyncClient) -> None:
    await create(client)
    long = "/".join(["data"] * 60)
    batch = await add(
        client, {f"{long}/circle/1.jpg": circles(1), "../2.jpg": circles(2), "a\\stripe\\3.jpg": stripes(3)}
    )
    assert [item["status"] for item in batch["items"]] == [201, 422, 201]
    assert [item["example"]["label"] for item in batch["items"] if item["example"]] == ["circle", "stripe"]


async def test_examples_outlive_the_retention(client: httpx.AsyncClient, settings: Settings) -> None:
    await create(client)
    await add(client, examples(2))
    await classify(client)
    deleted = await retain(make_storage(settings), settings.model_copy(update={"retention_bytes": 1}))
    assert deleted.predictions == 1
    assert len((await client.get("/models/shapes/examples")).json()) == 4
    assert len((await client.get("/predictions/")).json()) == 4


async def test_only_the_newest_versions_can_be_served(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.crud.trainings.KEPT_VERSIONS", 2)
    await taught(client, 4)
    for _ in range(3):
        await train(client)
    assert (await client.put("/models/shapes/version", json={"version": 3})).status_code == 200
    response = await client.put("/models/shapes/version", json={"version": 1})
    assert (response.status_code, response.json()["code"]) == (404, "version_unknown")


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


async def test_other_use_of_the_same_image_is_refused(client: httpx.AsyncClient) -> None:
    await create(client)
    batch = await add(client, {"circle/1.jpg": circles(1), "val/circle/1.jpg": circles(1)})
    assert [item["status"] for item in batch["items"]] == [201, 409]
    assert "to learn from" in batch["items"][1]["error"]["message"]


async def test_correction_keeps_the_use_of_an_example(client: httpx.AsyncClient) -> None:
    await taught(client)
    prediction = await answer(client, circles(100))
    path = f"/models/shapes/examples/{prediction['id']}"
    await client.put(path, json={"label": "circle", "use": "check"})
    await client.put(f"/predictions/{prediction['id']}/", json={"top_prediction": "stripe", "confidence": 1.0})
    (example,) = (await client.get("/models/shapes/examples", params={"use": "check"})).json()
    assert (example["prediction_id"], example["label"]) == (prediction["id"], "stripe")


async def test_labels_are_compared_as_people_see_them(client: httpx.AsyncClient) -> None:
    composed, decomposed = "K\u00e4fer", "Ka\u0308fer"
    model = await create(client, labels=[decomposed])
    assert [one["label"] for one in model["labels"]] == [composed]
    path = f"/models/shapes/examples/{(await classify(client))['id']}"
    assert (await client.put(path, json={"label": decomposed})).json()["label"] == composed
    for label in ("OTHER", "\uff2f\uff34\uff28\uff25\uff32"):
        assert (await client.post("/models", json={"name": "x", "labels": [label]})).status_code == 422
    # Persian needs a character that has no width.
    labels = ["\u0645\u06cc\u200c\u0634\u0648\u062f"]
    assert (await client.post("/models", json={"name": "y", "labels": labels})).status_code == 201


async def test_examples_added_during_a_training_are_learned_after_it(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taught(client, retrain_after=3)

    async def add_meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        await add(client, examples(3, first=300))
        return await train_head(*arguments)

    monkeypatch.setattr(training_module, "train_head", add_meanwhile)
    assert (await train(client))["examples"] == 12
    async with asyncio.timeout(30):
        while (await client.get("/models/shapes")).json()["version"] != 3:
            await asyncio.sleep(0.1)
    assert (await client.get("/models/shapes/trainings")).json()[0]["examples"] == 18


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
