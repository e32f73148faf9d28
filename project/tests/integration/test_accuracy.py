"""The accuracy of models, and the export of labelled images."""

import csv
import io
import zipfile
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from tests.conftest import FALLBACK
from tests.drawings import circles, examples
from tests.integration.conftest import SECOND_MODEL
from tests.pictures import jpeg
from tests.teaching import add, answer, create, taught, train
from tests.uploading import WAIT, classify

pytestmark = pytest.mark.process


@pytest.fixture
def client(two_model_client: httpx.AsyncClient) -> httpx.AsyncClient:
    return two_model_client


async def reviewed(client: httpx.AsyncClient, *labels: str | None) -> list[dict[str, Any]]:
    """New predictions with these labels of a person; None confirms the model's own."""
    predictions = []
    for number, label in enumerate(labels):
        prediction = await classify(client, jpeg(300 + number))
        body = {"verdict": "corrected", "label": label} if label else {"verdict": "confirmed"}
        response = await client.post("/predictions/review", json={"ids": [prediction["id"]], **body})
        assert response.json()["reviewed"] == 1, response.text
        predictions.append(prediction)
    return predictions


async def test_accuracy_is_the_share_of_labels_that_people_confirm(client: httpx.AsyncClient) -> None:
    predictions = await reviewed(client, None, "my cat", "my cat")
    (sampled,) = await reviewed(client, None)
    await execute("UPDATE predictions SET review_sampled = true WHERE id = $1", [sampled["id"]])
    (row,) = (await client.get("/accuracy")).json()
    assert (row["model"], row["model_version"]) == (FALLBACK, predictions[0]["model_version"])
    assert row["all"] == {"reviewed": 4, "correct": 2, "accuracy": 0.5, "interval": [0.15, 0.85]}
    assert (row["sample"]["reviewed"], row["sample"]["correct"]) == (1, 1)
    assert (await client.get("/accuracy", params={"model": SECOND_MODEL})).json() == []


async def test_labels_confusions_and_days_are_counted(client: httpx.AsyncClient) -> None:
    predictions = await reviewed(client, None, "my cat", "my cat")
    await execute("UPDATE predictions SET completed_at = completed_at - interval '3 days' WHERE id = 1")
    own = predictions[0]["top_prediction"]
    assert {one["top_prediction"] for one in predictions} == {own}
    read = (await client.get(f"/models/{FALLBACK}/accuracy")).json()
    assert read["labels"] == [
        {"label": "my cat", "reviewed": 2, "precision": None, "recall": 0.0},
        {"label": own, "reviewed": 1, "precision": 0.3333, "recall": 1.0},
    ]
    assert read["confusions"] == [{"actual": "my cat", "predicted": own, "count": 2}]
    assert [(day["reviewed"], day["correct"]) for day in read["days"]] == [(1, 1), (2, 0)]


async def test_label_counts_for_every_model_that_has_classified_the_image(client: httpx.AsyncClient) -> None:
    (prediction,) = await reviewed(client, "my cat")
    for _ in range(2):
        await client.post(f"/predictions/{prediction['id']}/reclassify", json={"model": SECOND_MODEL}, headers=WAIT)
    rows = {row["model"]: row["all"] for row in (await client.get("/accuracy")).json()}
    # Once for each version, although the second model has classified it twice.
    assert {name: (row["reviewed"], row["correct"]) for name, row in rows.items()} == {
        FALLBACK: (1, 0),
        SECOND_MODEL: (1, 0),
    }


async def test_results_for_images_that_were_examples_do_not_count(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    prediction = (await answer(client, circles(500)))["id"]
    body = {"ids": [prediction], "verdict": "confirmed"}
    assert (await client.post("/predictions/review", json=body)).json()["reviewed"] == 1
    (row,) = (await client.get("/accuracy", params={"model": "shapes"})).json()
    assert row["all"]["reviewed"] == 1
    training = await train(client)
    assert training["served"], training
    await client.post(f"/predictions/{prediction}/reclassify", json={"model": "shapes"}, headers=WAIT)
    (row,) = (await client.get("/accuracy", params={"model": "shapes"})).json()
    assert row["model_version"].startswith("1-")


async def test_version_without_reviews_is_404(client: httpx.AsyncClient) -> None:
    await reviewed(client, None)
    for path in (f"/models/{SECOND_MODEL}/accuracy", f"/models/{FALLBACK}/accuracy?version=1"):
        assert (await client.get(path)).status_code == 404


async def unzipped(client: httpx.AsyncClient, **parameters: str) -> zipfile.ZipFile:
    response = await client.get("/predictions/labelled", params=parameters)
    assert response.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    return archive


async def test_images_are_exported_in_a_folder_for_each_label(client: httpx.AsyncClient) -> None:
    own, corrected = await reviewed(client, None, "my/cat")
    await classify(client)
    archive = await unzipped(client)
    paths = [f"{own['top_prediction']}/{own['id']}.jpg", f"my%2Fcat/{corrected['id']}.jpg"]
    assert archive.namelist() == [*paths, "labels.csv"]
    assert archive.read(paths[0])[:2] == b"\xff\xd8"
    rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
    assert [(row["file"], row["label"], row["source"]) for row in rows] == [
        (paths[0], own["top_prediction"], "confirmed"),
        (paths[1], "my/cat", "corrected"),
    ]
    assert (await client.get("/predictions/labelled", params={"format": "csv"})).text == archive.read(
        "labels.csv"
    ).decode()


async def test_export_can_be_taught_again(client: httpx.AsyncClient) -> None:
    await create(client)
    await add(client, examples(3))
    archive = await unzipped(client, model="shapes")
    assert {name.split("/")[0] for name in archive.namelist()} == {"circle", "stripe", "labels.csv"}
    await create(client, "again")
    files = {name: archive.read(name) for name in archive.namelist() if "/" in name}
    assert (await add(client, files, "again"))["accepted"] == 6


async def test_image_with_several_labels_is_in_each_of_their_folders_once(client: httpx.AsyncClient) -> None:
    prediction = (await classify(client, circles(1)))["id"]
    for name, label in (("one", "round"), ("two", "round"), ("three", "white")):
        await create(client, name, labels=[label])
        await client.put(f"/models/{name}/examples/{prediction}", json={"label": label})
    archive = await unzipped(client)
    assert archive.namelist() == [f"round/{prediction}.jpg", f"white/{prediction}.jpg", "labels.csv"]


async def test_images_that_are_gone_are_left_out(client: httpx.AsyncClient, settings: Settings) -> None:
    gone, there = await reviewed(client, "a", "b")
    (settings.uploads / gone["image_path"]).unlink()
    archive = await unzipped(client)
    assert archive.namelist() == [f"b/{there['id']}.jpg", "labels.csv"]


async def test_export_of_nothing_is_an_empty_list(client: httpx.AsyncClient) -> None:
    assert (await unzipped(client)).namelist() == ["labels.csv"]


async def test_export_reads_page_by_page(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.db.crud.labelled_images.PAGE", 2)
    numbers = [prediction["id"] for prediction in await reviewed(client, "a", "b", "c", "d", "e")]
    await create(client, labels=["a", "z"])
    for number, label in zip(numbers, "zazaz", strict=True):
        await client.put(f"/models/shapes/examples/{number}", json={"label": label})
    archive = await unzipped(client)
    assert len(archive.namelist()) == 11
    assert len(set(archive.namelist())) == 11
