"""Names and categories of labels, from the model's folder to lists of predictions."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.config import Settings
from app.db.crud.search import MAX_ALTERNATIVES, Filters
from tests.conftest import FALLBACK
from tests.drawings import circles
from tests.integration.conftest import AddModel, serving
from tests.pictures import jpeg
from tests.teaching import answer, taught
from tests.uploading import classify, upload


@pytest.fixture
async def tiger(client: httpx.AsyncClient, labelled_images: Path) -> dict[str, Any]:
    return await classify(client, (labelled_images / "n02129604_tiger.jpg").read_bytes(), name="IMG_1.jpg")


async def found(client: httpx.AsyncClient, **asked: str) -> list[int]:
    response = await client.get("/predictions/", params=asked)
    assert response.status_code == 200, response.text
    return [row["id"] for row in response.json()]


def confidences(prediction: dict[str, Any]) -> dict[str, float]:
    return {one["name"]: one["confidence"] for one in prediction["categories"]}


async def test_result_has_the_sums_of_all_labels_in_each_category(tiger: dict[str, Any]) -> None:
    assert tiger["top_prediction"] == "tiger"
    sums = confidences(tiger)
    assert list(sums.values()) == sorted(sums.values(), reverse=True)
    cats = sum(one["confidence"] for one in tiger["all_predictions"] if one["label"] in {"tiger", "leopard", "jaguar"})
    assert cats <= sums["big cat"] + 1e-6
    assert sums["big cat"] <= sums["mammal"] <= sums["animal"] <= 1


async def test_cached_result_has_the_same_categories(settings: Settings, labelled_images: Path) -> None:
    data = (labelled_images / "n02129604_tiger.jpg").read_bytes()
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        first, second = await classify(client, data), await classify(client, data)
    assert second["cached"]
    assert confidences(second) == confidences(first)
    assert "big cat" in confidences(second)


async def test_categories_are_replaced_when_an_image_is_classified_again(
    client: httpx.AsyncClient, tiger: dict[str, Any]
) -> None:
    response = await client.post(f"/predictions/{tiger['id']}/reclassify")
    assert response.json()["categories"] is None
    again = (await client.get(f"/predictions/{tiger['id']}/?wait=30")).json()
    assert confidences(again) == pytest.approx(confidences(tiger))


async def test_correction_leaves_the_models_categories(client: httpx.AsyncClient, tiger: dict[str, Any]) -> None:
    body = {"top_prediction": "sports_car", "confidence": 1}
    corrected = (await client.put(f"/predictions/{tiger['id']}/", json=body)).json()
    assert corrected["categories"] == tiger["categories"]
    assert await found(client, category="car") == [tiger["id"]]
    assert await found(client, category="big cat") == []


WORDS = ["tiger", "Raubkatze img", "Großkatze", "Panthera", "big cats", "Säugetiere", "animal 1"]


async def test_words_find_names_synonyms_and_categories_in_every_language(
    client: httpx.AsyncClient, tiger: dict[str, Any], subtests: pytest.Subtests
) -> None:
    await upload(client, jpeg(), wait=True)
    for text in WORDS:
        with subtests.test(text):
            expected = [] if "Raubkatze" in text else [tiger["id"]]
            assert await found(client, q=text) == expected


async def test_many_words_with_meanings_are_few_queries(client: httpx.AsyncClient, tiger: dict[str, Any]) -> None:
    assert await found(client, q="tiger " * 500) == [tiger["id"]]
    filters = Filters(words="dog", meanings=(("dog", ("beagle", "boxer")),) * 100)
    assert len(filters.alternatives()) == MAX_ALTERNATIVES


async def test_category_filters_the_list_and_the_export(client: httpx.AsyncClient, tiger: dict[str, Any]) -> None:
    assert await found(client, category="mammal") == [tiger["id"]]
    assert await found(client, category="vehicle") == []
    assert await found(client, category="nothing") == []
    (line,) = (
        await client.get("/predictions/export", params={"category": "mammal", "format": "jsonl"})
    ).text.splitlines()
    assert json.loads(line)["categories"] == tiger["categories"]
    text = (await client.get("/predictions/export", params={"category": "mammal"})).text
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["categories"].startswith(f"animal {confidences(tiger)['animal']}; ")


async def test_labels_are_listed_with_names_and_categories(client: httpx.AsyncClient) -> None:
    labels = (await client.get(f"/models/{FALLBACK}/labels")).json()
    details = (await client.get(f"/models/{FALLBACK}/labels?details=true")).json()
    assert [one["label"] for one in details] == labels
    assert details[292] == {
        "label": "tiger",
        "id": "n02129604",
        "names": {"en": "tiger", "de": "Tiger"},
        "synonyms": ["Panthera tigris"],
        "categories": ["animal", "mammal", "big cat"],
    }
    categories = {one["name"]: one for one in (await client.get(f"/models/{FALLBACK}/categories")).json()}
    assert categories["big cat"]["parent"] == "mammal"
    assert categories["big cat"]["names"]["de"] == "Großkatze"
    assert "tiger" in categories["big cat"]["labels"]


@pytest.mark.parametrize("label", ["tiger", "Tiger", "Panthera tigris"])
async def test_label_filter_takes_each_of_its_names(
    client: httpx.AsyncClient, tiger: dict[str, Any], label: str
) -> None:
    assert await found(client, label=label) == [tiger["id"]]
    page = await client.get("/history", params={"label": label}, headers={"Accept": "text/html"})
    assert f'data-id="{tiger["id"]}"' in page.text


async def test_page_names_labels_in_its_language(client: httpx.AsyncClient, tiger: dict[str, Any]) -> None:
    path, german = f"/history/{tiger['id']}", {"Accept": "text/html", "Accept-Language": "de"}
    corrected = await client.post(f"{path}/correction", data={"label": "Getigerte Katze"}, headers=german)
    assert corrected.status_code == 303
    assert (await client.get(f"/predictions/{tiger['id']}/")).json()["top_prediction"] == "tabby"
    assert "Getigerte Katze" in (await client.get(path, headers=german)).text
    assert "tabby cat" in (await client.get(path, headers={"Accept": "text/html"})).text
    asked = {"label": ["tabby", "my_cat"], "category": ["big cat", "other"]}
    assert (await client.get("/label-names", params=asked, headers=german)).json() == {
        "labels": {"tabby": "Getigerte Katze", "my_cat": "my cat"},
        "categories": {"big cat": "Großkatze", "other": "other"},
    }
    names = (await client.get("/label-names", params={"model": FALLBACK}, headers=german)).json()["labels"]
    assert len(names) == 998
    assert names["tiger"] == "Tiger"


async def test_page_shows_the_narrowest_certain_category_where_no_label_is_certain(
    client: httpx.AsyncClient, tiger: dict[str, Any], database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    categories = [
        {"name": name, "confidence": share} for name, share in (("animal", 0.95), ("mammal", 0.95), ("big cat", 0.91))
    ]
    statement = "UPDATE predictions SET confidence = 0.3, decision = 'unsure', categories = $1"
    await connection.execute(statement, json.dumps([*categories, {"name": "dog", "confidence": 0.04}]))
    await connection.close()
    path, german = f"/history/{tiger['id']}", {"Accept": "text/html", "Accept-Language": "de"}
    text = (await client.get(path, headers={"Accept": "text/html"})).text
    assert '<strong>big cat</strong> <span class="number">91 %</span>' in text
    assert "perhaps tiger, 30 %" in text
    assert "<strong>Großkatze</strong>" in (await client.get("/history", headers=german)).text
    # A person's label is the answer.
    await client.put(f"/predictions/{tiger['id']}/", json={"top_prediction": "tiger", "confidence": 1})
    assert "perhaps" not in (await client.get(path, headers={"Accept": "text/html"})).text


@pytest.mark.process
async def test_names_of_a_models_folder_are_used_and_followed(
    settings: Settings, folder: Path, add_model: AddModel
) -> None:
    names = add_model() / "labels.json"
    labels = (folder / FALLBACK / "labels.txt").read_text().splitlines()
    entries: list[dict[str, Any]] = [{"label": label} for label in labels]
    entries[0] = {"label": labels[0], "names": {"fr": "tanche"}}
    names.unlink(missing_ok=True)
    names.write_text(json.dumps({"labels": entries}))
    async with serving(settings.model_copy(update={"models_dir": folder})) as client:
        assert (await client.get(f"/models/{FALLBACK}/labels?details=true")).json()[0]["names"] == {"fr": "tanche"}
        prediction = await classify(client)
        assert prediction["categories"] is None
        entries = [{"label": label, "category": "thing"} for label in labels]
        names.write_text(json.dumps({"labels": entries, "categories": {"thing": {}}}))
        await client.get("/models")
        assert (await client.get(f"/models/{FALLBACK}/labels?details=true")).json()[0]["categories"] == ["thing"]
        names.write_text(json.dumps({"labels": [{"label": label} for label in labels[:3]]}))
        (broken,) = [one for one in (await client.get("/models")).json() if one["status"] == "broken"]
        assert broken["error"] == (
            f"The names in {FALLBACK}/labels.json cannot be used: it has 3 labels, and the model has 1000."
        )
        # Its last working version stays in use.
        assert (await client.get(f"/models/{FALLBACK}/labels?details=true")).json()[0]["categories"] == ["thing"]


NAMES: dict[str, Any] = {
    "categories": {"shape": {"names": {"de": "Form"}}, "round": {"parent": "shape", "names": {"de": "Rundes"}}},
    "labels": [
        {"label": "circle", "names": {"en": "full circle", "de": "Kreis"}, "synonyms": ["disc"], "category": "round"},
        {"label": "stripe", "category": "shape"},
    ],
}


@pytest.mark.process
async def test_labels_of_a_custom_model_have_names_and_categories(client: httpx.AsyncClient) -> None:
    await taught(client, retrain_after=0)
    assert (await answer(client, circles(500)))["categories"] is None
    assert (await client.put("/models/shapes/labels", json=NAMES)).status_code == 204
    row = await answer(client, circles(501))
    shape, round_ = row["categories"]
    assert (shape["name"], round_["name"]) == ("shape", "round")
    assert shape["confidence"] == pytest.approx(1, abs=1e-4)
    assert round_["confidence"] == pytest.approx(row["confidence"], abs=1e-4)
    details = (await client.get("/models/shapes/labels?details=true")).json()
    assert [(one["label"], one["categories"]) for one in details] == [
        ("circle", ["shape", "round"]),
        ("stripe", ["shape"]),
    ]
    categories = (await client.get("/models/shapes/categories")).json()
    assert {one["name"]: one["labels"] for one in categories} == {"shape": ["circle", "stripe"], "round": ["circle"]}

    async def found(**filters: str) -> list[int]:
        rows = (await client.get("/predictions/", params={"model": "shapes", **filters})).json()
        return [row["id"] for row in rows]

    both = await found()
    assert len(both) == 2
    for words in ("Kreis", "disc", "Rundes", "full circle"):
        assert await found(q=words) == both, words
    for category in ("round", "Rundes", "ROUND", "Form"):
        assert await found(category=category) == both, category
    assert await found(category="mammal") == []
    html = {"Accept": "text/html", "Accept-Language": "de"}
    assert "Kreis" in (await client.get(f"/history/{row['id']}", headers=html)).text
    # A search keeps the category.
    page = await client.get("/history?category=round", headers=html)
    search = page.text.partition('role="search">')[2].partition("</form>")[0]
    assert '<input type="hidden" name="category" value="round">' in search
    # Of the model that is asked for: its label tabby is in no category.
    correction = {"top_prediction": "tabby", "confidence": 1, "new_label": True}
    assert (await client.put(f"/predictions/{row['id']}/", json=correction)).status_code == 200
    assert await found(category="cat") == []
    assert [one["id"] for one in (await client.get("/predictions/?category=cat")).json()] == [row["id"]]


@pytest.mark.process
async def test_names_of_custom_labels_are_replaced_as_a_whole_and_checked(client: httpx.AsyncClient) -> None:
    await taught(client, retrain_after=0)
    await client.put("/models/shapes/labels", json=NAMES)
    for invalid in (
        {"labels": [{"label": "square"}]},
        {"labels": [{"label": "circle", "category": "nothing"}]},
        {"categories": {"a": {"parent": "a"}}, "labels": []},
        {"labels": [{"label": "circle", "colour": "red"}]},
        {"labels": [{"label": "circle"}, {"label": "circle"}]},
        {},
    ):
        assert (await client.put("/models/shapes/labels", json=invalid)).status_code == 422, invalid
    assert len((await client.get("/models/shapes/categories")).json()) == 2
    assert (await client.put("/models/shapes/labels", json={"labels": []})).status_code == 204
    assert (await client.get("/models/shapes/categories")).json() == []
    assert (await client.put(f"/models/{FALLBACK}/labels", json=NAMES)).status_code == 404
