"""Trainings of custom models: what they learn, which version is served, and what they survive."""

import asyncio
import signal
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from app.classifier.heads.training import train_head
from app.config import Settings
from app.db.connection import execute as in_database
from app.db.crud import trainings
from app.domain import StorageUnavailable, TrainingInterrupted
from app.models.tortoise import Training
from app.worker import training as training_module
from app.worker.engine_requests import EngineRequests
from tests.drawings import circles, examples, noise, stripes
from tests.integration.conftest import execute, serving
from tests.teaching import add, answer, create, taught, train
from tests.uploading import WAIT


async def test_same_examples_give_the_same_version(client: httpx.AsyncClient) -> None:
    first = await taught(client, labels=["circle", "stripe"])
    model = (await client.get("/models/shapes")).json()
    await create(client, "again", labels=["circle", "stripe"])
    await add(client, dict(reversed(examples(6).items())), "again")
    second = await train(client, "again")
    assert second["examples_sha256"] == first["examples_sha256"]
    assert (await client.get("/models/again")).json()["model_version"] == model["model_version"]


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
    assert (wrong_id, "stripe", "circle") in [(one["prediction_id"], one["label"], one["answer"]) for one in wrong]
    assert {one["answer"] for one in wrong} == {"circle", "other"}
    metrics = training["metrics"]
    assert len(wrong) == metrics["examples"] - round(metrics["accuracy"] * metrics["examples"])


async def test_progress_of_a_training_is_reported(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    real = trainings.report_progress

    async def note(training: Training, share: float) -> None:
        await real(training, share)
        read = (await client.get(f"/models/shapes/trainings/{training.id}")).json()
        assert read["progress"] == share
        shares.append(round(share, 3))

    monkeypatch.setattr(training_module, "SAVED_TOGETHER", 1)
    monkeypatch.setattr(trainings, "report_progress", note)
    await create(client)
    for item in (await add(client, examples(3)))["items"]:
        await client.get(f"/predictions/{item['example']['prediction_id']}/?wait=30")
    # Embeddings that were stored with the uploads are not computed again.
    await in_database("DELETE FROM embeddings")
    training = await train(client)
    assert shares == [0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 0.9]
    assert training["progress"] == 1


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


async def test_damaged_image_is_left_out_and_named(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"keep_embeddings": False})) as client:
        await create(client)
        batch = await add(client, examples(4))
        damaged = batch["items"][0]["example"]["prediction_id"]
        path = (await client.get(f"/predictions/{damaged}/")).json()["image_path"]
        (settings.uploads / path).write_bytes(b"not an image any more")
        training = await train(client)
    assert training["examples"] == 7
    assert training["metrics"]["unreadable"] == [damaged]


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


async def test_labels_without_examples_do_not_prevent_a_training(client: httpx.AsyncClient) -> None:
    await create(client, labels=["square", "circle", "stripe"])
    await add(client, examples(4))
    training = await train(client)
    assert [one["label"] for one in training["metrics"]["labels"]] == ["circle", "stripe"]
    assert (await answer(client, circles(100)))["top_prediction"] == "circle"


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


async def test_images_reviewed_as_none_of_these_set_the_threshold(client: httpx.AsyncClient) -> None:
    before = (await taught(client, 6))["metrics"]["other"]
    assert before["images"] == 0
    others = [(await answer(client, noise(number)))["id"] for number in range(3)]
    body = {"ids": others, "verdict": "corrected", "label": "other"}
    assert (await client.post("/predictions/review", json=body)).json()["reviewed"] == 3
    after = (await train(client))["metrics"]["other"]
    assert (after["images"], after["recognized"]) == (3, 1)
