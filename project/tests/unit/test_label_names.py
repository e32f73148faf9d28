"""Names and categories of labels: ImageNet's, and files of one's own."""

import json
import re
from typing import Any

import numpy as np
import pytest

from app.classifier.names.catalog import MAX_CATEGORIES, LabelCatalog, NamesInvalid
from app.classifier.names.imagenet import imagenet_catalog, known_catalog

FILE: dict[str, Any] = {
    "categories": {
        "fruit": {"names": {"en": "fruit", "de": "Obst"}},
        "citrus": {"parent": "fruit", "names": {"de": "Zitrusfrucht"}},
    },
    "labels": [
        {"label": "lemon", "id": "1", "names": {"de": "Zitrone"}, "synonyms": ["citron"], "category": "citrus"},
        {"label": "orange", "category": "citrus"},
        {"label": "apple", "names": {"en": "apple"}, "category": "fruit"},
        {"label": "spoon"},
    ],
}
LABELS = [entry["label"] for entry in FILE["labels"]]


def catalog(**changes: Any) -> LabelCatalog:
    return LabelCatalog.from_json(json.dumps(FILE | changes).encode(), LABELS)


def test_every_label_of_imagenet_has_names_and_a_category() -> None:
    names = imagenet_catalog()
    assert len(names.labels) == 1000
    for entry in names.labels:
        assert set(entry.names) == {"en", "de"}, entry.label
        assert entry.id
        assert names.chain(entry.category), entry.label
    assert all(category.names["de"] for category in names.categories.values())


def test_imagenets_categories_are_few_and_their_chains_short() -> None:
    names = imagenet_catalog()
    broadest = {names.chain(entry.category)[0] for entry in names.labels}
    assert 40 <= len(broadest) <= 80
    assert max(len(names.chain(entry.category)) for entry in names.labels) <= 4
    # None is empty.
    assert all(names.labels_in(category) for category in names.categories)


@pytest.mark.parametrize(
    ("label", "english", "german", "chain"),
    [
        (
            "soft-coated_wheaten_terrier",
            "Soft-coated Wheaten Terrier",
            "Irish Soft Coated Wheaten Terrier",
            "dog terrier",
        ),
        ("Siberian_husky", "Siberian Husky", "Siberian Husky", "dog spitz"),
        ("sports_car", "sports car", "Sportwagen", "vehicle car"),
        ("Granny_Smith", "Granny Smith apple", "Granny-Smith-Apfel", "food fruit"),
        ("cock", "rooster", "Hahn", "bird game bird"),
    ],
)
def test_imagenets_labels_have_names_that_people_use(label: str, english: str, german: str, chain: str) -> None:
    names = imagenet_catalog()
    assert names.name_of(label, "en") == english
    assert names.name_of(label, "de") == german
    (entry,) = names.by_label[label]
    assert " ".join(names.chain(entry.category)).endswith(chain)


def test_label_that_stands_for_two_things_has_both_names() -> None:
    assert imagenet_catalog().name_of("crane", "de") == "Kranich / Kran"


def test_only_imagenets_own_labels_are_known() -> None:
    labels = [entry.label for entry in imagenet_catalog().labels]
    assert known_catalog(labels) is imagenet_catalog()
    assert known_catalog(["golden fish", *labels[1:]]) is None
    assert known_catalog(labels[:10]) is None


def test_confidence_of_a_category_is_the_sum_of_its_labels() -> None:
    sums = catalog().sums(np.array([0.5, 0.25, 0.125, 0.125], np.float32))
    assert [(one.name, one.confidence) for one in sums] == [("fruit", 0.875), ("citrus", 0.75)]


def test_narrower_of_equal_categories_comes_first() -> None:
    sums = catalog().sums(np.array([1, 0, 0, 0], np.float32))
    assert [one.name for one in sums] == ["citrus", "fruit"]


def test_few_categories_are_listed() -> None:
    sums = imagenet_catalog().sums(np.full(1000, 1 / 1000, np.float32))
    assert 0 < len(sums) <= MAX_CATEGORIES
    assert all(one.confidence >= 0.05 for one in sums)
    assert catalog().sums(np.array([0, 0, 0.01, 0.99], np.float32)) == []


@pytest.mark.parametrize(
    ("word", "labels"),
    [
        ("Zitrone", {"lemon"}),
        ("CITRON", {"lemon"}),
        ("Zitrusfrucht", {"lemon", "orange"}),
        ("obst", {"lemon", "orange", "apple"}),
        ("fruits", {"lemon", "orange", "apple"}),
        ("Zitronen", {"lemon"}),
        ("fr", set()),
        ("spoon", set()),
        ("pear", set()),
        ("", set()),
    ],
)
def test_words_mean_labels_in_every_language(word: str, labels: set[str]) -> None:
    assert catalog().labels_for(word) == labels


def test_plural_means_all_breeds() -> None:
    names = imagenet_catalog()
    dogs = names.labels_in("dog")
    assert len(dogs) == 118
    assert names.labels_for("dogs") == names.labels_for("dog")
    assert names.labels_for("Hunde") == names.labels_for("Hund")
    assert names.labels_for("Hund") == dogs
    assert names.labels_for("dog") - dogs == {"African_hunting_dog", "dogsled", "hotdog"}


def test_category_with_two_words_is_found_by_its_whole_name() -> None:
    names = imagenet_catalog()
    assert "lion" in names.labels_for("big cats")
    assert "lion" not in names.labels_for("cat")
    assert names.labels_for("Boot oder Schiff") == names.labels_in("boat or ship")
    assert names.labels_in("boat or ship") <= names.labels_for("ship")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("tabby", "tabby"),
        ("Getigerte katze", "tabby"),
        ("tiger cat", "tiger_cat"),
        ("Egyptian cat", "Egyptian_cat"),
        ("Egyptian Mau", "Egyptian_cat"),
        ("Panthera tigris", "tiger"),
        ("my cat", None),
        ("", None),
    ],
)
def test_label_is_found_by_each_of_its_names(text: str, label: str | None) -> None:
    assert imagenet_catalog().label_named(text) == label


def test_label_that_was_edited_has_no_names() -> None:
    edited = LabelCatalog.from_json(json.dumps(FILE).encode(), ["lime", *LABELS[1:]])
    assert edited.name_of("lime", "de") is None
    assert edited.chain(edited.labels[0].category) == ()
    assert edited.name_of("apple", "de") == "apple"


def test_file_round_trips() -> None:
    assert LabelCatalog.from_json(catalog().to_json(), LABELS) == catalog()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": FILE["labels"][:3]}, "it has 3 labels, and the model has 4"),
        ({"categories": {}}, "the label 'lemon' has the category 'citrus', which does not exist"),
        ({"categories": {"citrus": {"parent": "fruit"}}}, "the parent 'fruit', which is not a category"),
        ({"categories": {"citrus": {"parent": "fruit"}, "fruit": {"parent": "citrus"}}}, "in a circle of categories"),
        ({"labels": [{"label": "lemon", "name": "x"}]}, "labels.0.name: Extra inputs are not permitted"),
        ({"labels": [{"label": "lemon", "names": {"de": ""}}]}, "labels.0.names.de: String should have at least 1"),
        ({"labels": [{"label": "lemon", "names": {"German": "Zitrone"}}]}, "String should match pattern"),
    ],
)
def test_file_that_cannot_be_used_is_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NamesInvalid, match=re.escape(message)):
        catalog(**changes)
