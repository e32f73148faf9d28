"""Examples of custom models: in batches, one by one, and from corrections."""

import httpx

from app.config import Settings
from app.storage import make_storage
from app.storage.retention import retain
from tests.drawings import circles, examples, stripes
from tests.teaching import ZIP, add, answer, create, taught, train
from tests.uploading import classify


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


async def test_deleted_prediction_is_no_example_any_more(client: httpx.AsyncClient) -> None:
    await create(client)
    batch = await add(client, examples(4))
    gone = batch["items"][0]["example"]["prediction_id"]
    assert (await client.delete(f"/predictions/{gone}/")).status_code == 200
    training = await train(client)
    assert training["examples"] == 7


async def test_labels_of_refused_examples_are_not_added(client: httpx.AsyncClient) -> None:
    await create(client)
    await add(client, {"circle/1.jpg": circles(1), "square/2.jpg": circles(1), "text/3.jpg": b"hello"})
    response = await client.put("/models/shapes/examples/999", json={"label": "round", "new_label": True})
    assert response.status_code == 404
    assert [one["label"] for one in (await client.get("/models/shapes")).json()["labels"]] == ["circle"]


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


async def test_refused_label_leaves_no_example(client: httpx.AsyncClient) -> None:
    await create(client, labels=[str(number) for number in range(1000)])
    prediction = (await classify(client))["id"]
    body = {"label": "one more", "new_label": True}
    assert (await client.put(f"/models/shapes/examples/{prediction}", json=body)).status_code == 422
    assert (await client.get("/models/shapes/examples")).json() == []


async def test_exported_labels_can_be_imported(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    exported = await client.get("/predictions/labelled?model=shapes")
    await create(client, "copy")
    imported = await client.post("/models/copy/examples/batch", content=exported.content, headers=ZIP)
    assert imported.status_code == 200, imported.text
    labels = (await client.get("/models/copy")).json()["labels"]
    assert {one["label"]: one["learn"] for one in labels} == {"circle": 3, "stripe": 3}
