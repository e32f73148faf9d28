"""Which results are sure: photographs with a confident label, and nothing else."""

import csv
from pathlib import Path
from typing import Any

import pytest

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model
from app.config import Settings
from app.domain import Decision, LabelScore
from tests.conftest import FALLBACK
from tests.integration.conftest import AddModel, serving
from tests.out_of_domain import KINDS, out_of_domain
from tests.uploading import classify

IMAGES = 200
TIGER = "n02129604_tiger.jpg"


def decision(classifier: Classifier, data: bytes) -> tuple[Decision, str]:
    tensor = classifier.decode(data)
    best = classifier.best(tensor)
    return classifier.decide(best, tensor), best[0].label


@pytest.fixture(scope="module")
def classifier(models_dir: Path) -> Classifier:
    return Classifier(read_model(models_dir / FALLBACK), 1)


@pytest.mark.slow
def test_at_most_five_percent_of_other_images_are_sure(classifier: Classifier) -> None:
    sure = [seed for seed in range(IMAGES) if decision(classifier, out_of_domain(seed))[0] is Decision.SURE]
    assert len(sure) <= 0.05 * IMAGES, [KINDS[seed % len(KINDS)] for seed in sure]


@pytest.mark.slow
def test_most_photographs_are_sure_and_right(classifier: Classifier, labelled_images: Path) -> None:
    with (labelled_images / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    decided = [(decision(classifier, (labelled_images / row["file"]).read_bytes()), row["label"]) for row in rows]
    sure = [label == truth for (one, label), truth in decided if one is Decision.SURE]
    assert len(sure) >= 0.85 * len(rows)
    assert sum(sure) >= 0.95 * len(sure)


@pytest.mark.parametrize("kind", ["document", "screenshot", "drawing"])
def test_image_that_is_no_photograph_is_unsure_whatever_its_confidence(classifier: Classifier, kind: str) -> None:
    first = KINDS.index(kind)
    for seed in range(first, first + 10 * len(KINDS), len(KINDS)):
        tensor = classifier.decode(out_of_domain(seed))
        assert classifier.decide([LabelScore("web_site", 1.0)], tensor) is Decision.UNSURE


async def test_decision_is_stored_cached_reset_and_filtered(settings: Settings, labelled_images: Path) -> None:
    tiger = (labelled_images / TIGER).read_bytes()
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        rows = [await classify(client, data) for data in (tiger, out_of_domain(1), tiger, out_of_domain(1))]
        assert [row["decision"] for row in rows] == ["sure", "unsure", "sure", "unsure"]
        assert [row["cached"] for row in rows] == [False, False, True, True]

        async def listed(wanted: str) -> list[int]:
            found = (await client.get("/predictions/", params={"decision": wanted})).json()
            return [row["id"] for row in found]

        assert await listed("sure") == [3, 1]
        assert await listed("unsure") == [4, 2]
        assert (await client.get("/predictions/?decision=maybe")).status_code == 422
        again = (await client.post("/predictions/1/reclassify", headers={"Prefer": "wait=30"})).json()
        assert again["decision"] == "sure"
        text = (await client.get("/history?decision=unsure", headers={"Accept": "text/html"})).text
        assert text.count('<span class="tag">unsure</span>') == 2
        corrected: dict[str, Any] = {"top_prediction": "web_site", "confidence": 1}
        assert (await client.put("/predictions/2/", json=corrected)).json()["decision"] == "unsure"
        text = (await client.get("/history/2", headers={"Accept": "text/html"})).text
        assert '<span class="tag">unsure</span>' not in text


@pytest.mark.process
@pytest.mark.parametrize(
    ("table", "expected"),
    [("sure_from = 0.99999", "unsure"), ("sure_from = 0", "sure"), ("labels = { tiger = 1.0 }", "unsure")],
)
async def test_operator_sets_the_threshold_of_a_model_or_label(
    settings: Settings, folder: Path, add_model: AddModel, labelled_images: Path, table: str, expected: str
) -> None:
    manifest = add_model() / "model.toml"
    manifest.write_text(f"{manifest.read_text()}\n[decision]\n{table}\n")
    async with serving(settings.model_copy(update={"models_dir": folder})) as client:
        prediction = await classify(client, (labelled_images / TIGER).read_bytes())
        assert prediction["decision"] == expected
