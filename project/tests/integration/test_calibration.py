"""Confidences that reviews calibrate, and the thresholds that people choose."""

import csv
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.db.connection import execute
from app.db.crud import api_keys, audit_log
from app.domain import Scope
from app.worker import calibrating, model_settings
from tests.conftest import FALLBACK
from tests.drawings import circles
from tests.integration.conftest import serving
from tests.pictures import jpeg
from tests.polling import until
from tests.teaching import answer, taught
from tests.uploading import WAIT, classify

pytestmark = pytest.mark.process

TIGER = "n02129604_tiger.jpg"
DECISION = f"/models/{FALLBACK}/decision"
CALIBRATION = f"/models/{FALLBACK}/calibration"
INSERT = """
INSERT INTO predictions (filename, image_path, content_type, size_bytes, width, height, sha256, status, top_prediction,
    confidence, all_predictions, model, model_version, attempts, created_at, completed_at, reviewed_at, verdict,
    review_sampled)
SELECT 'a.jpg', gen_random_uuid()::text, 'image/jpeg', 1, 1, 1, repeat('0', 64), 'succeeded', truth, confidence,
    jsonb_build_array(jsonb_build_object('label', 'tabby', 'confidence', confidence),
                      jsonb_build_object('label', 'lynx', 'confidence', (1 - confidence) / 2)),
    $1, $2, 1, now(), now(), now(), CASE truth WHEN 'tabby' THEN 'confirmed' ELSE 'corrected' END, false
FROM unnest($3::float8[], $4::text[]) AS given (confidence, truth)
"""
REVIEWS = [*[(0.95, "tabby")] * 50, *[(0.9, "lynx")] * 10, *[(0.5, "tabby")] * 20, *[(0.5, "lynx")] * 40]
"""Confidences that are too high, and the labels that people gave."""


@pytest.fixture
async def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(calibrating, "SEARCH_SECONDS", 0.05)
    monkeypatch.setattr(calibrating, "PAUSE_FACTOR", 0)
    async with serving(settings) as client:
        yield client


async def version(client: httpx.AsyncClient, name: str = FALLBACK) -> str:
    models = (await client.get("/models")).json()
    return next(str(model["version"]) for model in models if model["name"] == name)


async def review(client: httpx.AsyncClient, reviews: Iterable[tuple[float, str]], name: str = FALLBACK) -> None:
    confidences, labels = zip(*reviews, strict=True)
    await execute(INSERT, [name, await version(client, name), list(confidences), list(labels)])


async def calibrated(client: httpx.AsyncClient, prediction: int, *, exists: bool = True) -> float | None:
    """The calibrated confidence of a prediction, once there is one, or none any more."""

    async def read() -> float | None:
        found: float | None = (await client.get(f"/predictions/{prediction}/")).json()["calibrated_confidence"]
        return found

    return await until(read, lambda found: (found is not None) is exists)


async def choose(client: httpx.AsyncClient, path: str = DECISION, **choice: Any) -> dict[str, Any]:
    response = await client.put(path, json=choice)
    assert response.status_code == 200, response.text
    read: dict[str, Any] = response.json()
    return read


async def test_model_without_reviews_says_how_many_are_missing(client: httpx.AsyncClient) -> None:
    read = (await client.get(CALIBRATION)).json()
    assert (read["reviews"], read["missing_reviews"]) == (0, 100)
    assert read["temperature"] is read["error_before"] is read["error_after"] is read["threshold"]["sure_from"] is None
    assert {one["reviews"] for one in read["curve"]} == {0}
    await review(client, REVIEWS[:30])
    read = (await client.get(CALIBRATION)).json()
    assert (read["reviews"], read["correct"], read["missing_reviews"]) == (30, 30, 70)
    assert read["temperature"] is None


async def test_reviews_calibrate_confidences_of_earlier_and_later_results(client: httpx.AsyncClient) -> None:
    earlier = await classify(client, jpeg(1))
    assert earlier["calibrated_confidence"] is None
    await review(client, REVIEWS)
    read = (await client.get(CALIBRATION)).json()
    assert (read["reviews"], read["correct"], read["missing_reviews"]) == (120, 70, 0)
    assert read["temperature"] > 1
    assert read["error_after"] < read["error_before"]
    assert read["curve"][9]["reviews"] == 60
    assert read["curve"][9]["accuracy"] == pytest.approx(50 / 60, abs=0.001)
    lower = await calibrated(client, 2)
    assert lower
    assert lower < 0.95
    later = await classify(client, jpeg(2))
    assert later["calibrated_confidence"] == await calibrated(client, later["id"])
    assert later["confidence"] != later["calibrated_confidence"]
    assert await calibrated(client, earlier["id"])
    # Undone reviews calibrate nothing.
    await execute("UPDATE predictions SET reviewed_at = NULL")
    await calibrated(client, later["id"], exists=False)


async def test_other_reviews_of_the_same_number_calibrate_again(client: httpx.AsyncClient) -> None:
    await review(client, REVIEWS)
    before = await calibrated(client, 1)
    # As many are right as before, but others.
    await execute(
        "UPDATE predictions SET top_prediction = CASE WHEN confidence < 0.9 THEN 'tabby' WHEN id % 10 < 9 THEN 'lynx' "
        "ELSE 'tabby' END, reviewed_at = now()"
    )
    await execute(
        "UPDATE predictions SET top_prediction = 'tabby' WHERE id IN (SELECT id FROM predictions "
        "WHERE top_prediction = 'lynx' ORDER BY id LIMIT (SELECT 70 - count(*) FROM predictions "
        "WHERE top_prediction = 'tabby'))"
    )
    read = (await client.get(CALIBRATION)).json()
    assert (read["reviews"], read["correct"]) == (120, 70)
    await until(lambda: calibrated(client, 1), lambda found: found != before)


async def test_label_of_a_person_has_no_calibrated_confidence(client: httpx.AsyncClient) -> None:
    await review(client, REVIEWS)
    await calibrated(client, 1)
    corrected = await client.put("/predictions/1/", json={"top_prediction": "my cat", "confidence": 1})
    assert corrected.json()["calibrated_confidence"] is None
    undone = await client.post("/predictions/review", json={"ids": [1], "verdict": None})
    assert undone.json()["reviewed"] == 1
    assert (await client.get("/predictions/1/")).json()["calibrated_confidence"]


async def test_lists_and_exports_have_calibrated_confidences(client: httpx.AsyncClient) -> None:
    await review(client, REVIEWS)
    expected = await calibrated(client, 1)
    listed = (await client.get("/predictions/", params={"limit": 200})).json()
    assert listed[-1]["calibrated_confidence"] == expected
    lines = (await client.get("/predictions/export/", params={"format": "jsonl", "ids": 1})).text
    assert json.loads(lines)["calibrated_confidence"] == expected
    (row,) = csv.DictReader((await client.get("/predictions/export/", params={"ids": 1})).text.splitlines())
    assert float(row["calibrated_confidence"]) == expected


async def test_threshold_decides_which_results_are_sure(client: httpx.AsyncClient, labelled_images: Path) -> None:
    data = (labelled_images / TIGER).read_bytes()
    before = (await client.get(DECISION)).json()
    assert before == {"sure_from": 0.4, "labels": {}, "precision": None, "source": "model", "who": None}
    chosen = await choose(client, sure_from=1.0)
    assert (chosen["sure_from"], chosen["source"], chosen["who"]) == (1.0, "chosen", "anonymous")
    first = await classify(client, data)
    assert first["decision"] == "unsure"
    await choose(client, sure_from=1.0, labels={first["top_prediction"]: 0.0})
    assert (await classify(client, data))["decision"] == "sure"
    await choose(client, sure_from=0.0)
    assert (await classify(client, data))["decision"] == "sure"
    assert await choose(client) == before
    entries = [
        entry.after for entry in await audit_log.page(10, None, None) if entry.action == "model.threshold_chosen"
    ]
    assert entries[-1] == {"model": FALLBACK, "before": None, "after": {"sure_from": 1.0, "labels": {}}}
    assert entries[0] == {"model": FALLBACK, "before": {"sure_from": 0.0, "labels": {}}, "after": None}


async def test_cached_results_are_decided_again_after_a_choice(settings: Settings, labelled_images: Path) -> None:
    data = (labelled_images / TIGER).read_bytes()
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        seen: list[tuple[float | None, str, bool]] = []
        for sure_from in (None, None, 1.0, 1.0, None):
            if sure_from != (seen[-1][0] if seen else None):
                await choose(client, sure_from=sure_from)
                # Processes may use the earlier threshold for a while.
                await execute("UPDATE decision_thresholds SET chosen_at = chosen_at - interval '4 seconds'")
            row = await classify(client, data)
            seen.append((sure_from, row["decision"], row["cached"]))
    assert seen == [
        (None, "sure", False),
        (None, "sure", True),
        (1.0, "unsure", False),
        (1.0, "unsure", True),
        (None, "sure", False),
    ]


async def test_threshold_is_chosen_for_a_share_of_right_results(client: httpx.AsyncClient) -> None:
    await review(client, REVIEWS)
    read = (await client.get(CALIBRATION, params={"precision": 0.8})).json()["threshold"]
    assert read["wanted"] == 0.8
    assert read["sure_from"] == 0.9
    assert read["precision"] == pytest.approx(50 / 60, abs=0.001)
    assert read["interval"][0] < read["precision"] < read["interval"][1]
    assert (read["reviews"], read["unsure"]) == (60, 0.5)
    chosen = await choose(client, precision=0.8)
    assert (chosen["sure_from"], chosen["precision"], chosen["source"]) == (0.9, 0.8, "chosen")


@pytest.mark.parametrize(
    ("reviews", "message"),
    [(REVIEWS[:40], "at least 60 more"), ([(0.9, "lynx")] * 90 + [(0.5, "tabby")] * 20, "Reviews show no")],
)
async def test_too_few_reviews_choose_no_threshold(
    client: httpx.AsyncClient, reviews: list[tuple[float, str]], message: str
) -> None:
    await review(client, reviews)
    refused = await client.put(DECISION, json={"precision": 0.95})
    assert (refused.status_code, refused.json()["code"]) == (409, "reviews_missing")
    assert message in refused.json()["detail"]
    assert (await client.get(DECISION)).json()["source"] == "model"


INVALID_CHOICES = [
    {"sure_from": 1.5},
    {"sure_from": -0.1},
    {"precision": 1},
    {"sure_from": 0.5, "precision": 0.9},
    {"labels": {"tabby": 0.5}},
    {"sure_from": 0.5, "labels": {"": 0.5}},
    {"sure_from": 0.5, "labels": {"tabby": 2}},
    {"threshold": 0.5},
    {"sure_from": 0.5, "labels": {"no such label": 0.5}},
    {"sure_from": True},
    {"sure_from": "0.5"},
]


async def test_invalid_choice_is_refused(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for choice in INVALID_CHOICES:
        with subtests.test(str(choice)):
            assert (await client.put(DECISION, json=choice)).status_code == 422
            assert (await client.get(DECISION)).json()["source"] == "model"


@pytest.mark.parametrize("path", ["calibration", "decision"])
async def test_unknown_model_is_404(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/models/nothing/{path}")).status_code == 404
    if path == "decision":
        assert (await client.put(f"/models/nothing/{path}", json={"sure_from": 0.5})).status_code == 404


async def test_only_administrators_choose_thresholds(client: httpx.AsyncClient) -> None:
    for scopes, status in (([Scope.READ, Scope.WRITE], 403), ([Scope.ADMIN], 200)):
        _, key = await api_keys.create("anna", scopes, None, "a test")
        refused = await client.put(DECISION, json={"sure_from": 0.5}, headers={"X-API-Key": key})
        assert refused.status_code == status, scopes


async def test_results_of_a_custom_model_are_decided_once_a_threshold_is_chosen(client: httpx.AsyncClient) -> None:
    await taught(client, retrain_after=0)
    assert (await answer(client, circles(500)))["decision"] is None
    assert (await client.get("/models/shapes/decision")).json()["sure_from"] is None
    await choose(client, "/models/shapes/decision", sure_from=0.0)
    row = await answer(client, circles(501))
    assert (row["top_prediction"], row["decision"]) == ("circle", "sure")
    await choose(client, "/models/shapes/decision", sure_from=1.0)
    again = await client.post(f"/predictions/{row['id']}/reclassify", json={"model": "shapes"}, headers=WAIT)
    assert again.json()["decision"] == "unsure"


async def test_threshold_is_chosen_on_the_page(client: httpx.AsyncClient) -> None:
    html = {"Accept": "text/html"}
    path = f"/statistics/accuracy/{FALLBACK}"
    await review(client, REVIEWS)
    text = (await client.get(path, params={"precision": 0.8}, headers=html)).text
    assert "From 90 % on, 83 % are right" in text
    assert "50 % of the newest images stay unsure." in text
    sent = await client.post(f"/catalog/{FALLBACK}/decision", data={"precision": "0.8"}, headers=html)
    assert (sent.status_code, sent.headers["location"]) == (303, f"{path}#confidence")
    text = (await client.get(path, headers=html)).text
    assert "Predictions are sure from 90 % on." in text
    assert "Chosen by anonymous, so that 80 % of them are right." in text
    await client.post(f"/catalog/{FALLBACK}/decision", headers=html)
    assert "Predictions are sure from 40 % on." in (await client.get(path, headers=html)).text
    await calibrated(client, 1)
    assert "According to reviews" in (await client.get("/history/1", headers=html)).text


async def test_page_says_how_many_reviews_are_missing(client: httpx.AsyncClient) -> None:
    await review(client, REVIEWS[:30])
    text = (await client.get(f"/statistics/accuracy/{FALLBACK}", headers={"Accept": "text/html"})).text
    assert "70 more reviews at least" in text
    assert "Reviews do not show" not in text


@pytest.mark.parametrize("deletion", [("DELETE", "/models/shapes"), ("POST", "/teach/shapes/deletion/")], ids=str)
async def test_another_model_of_the_same_name_answers_anew(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, deletion: tuple[str, str]
) -> None:
    # Without periodic refreshes: the deletion itself must refresh the settings.
    monkeypatch.setattr(model_settings, "FOLLOW_SECONDS", 600)
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        await taught(client, retrain_after=0)
        await choose(client, "/models/shapes/decision", sure_from=1.0)
        await client.put("/models/default", json={"name": "shapes"})
        first = await answer(client, circles(500))
        assert first["decision"] == "unsure"
        assert (await client.request(*deletion)).status_code in {204, 303}
        assert (await client.get("/models")).json()[0]["name"] == FALLBACK
        second = await taught(client, retrain_after=0)
        assert second["served"]
        assert (await client.get("/models")).json()[0]["name"] == FALLBACK
        row = await answer(client, circles(500))
        assert row["model_version"] == first["model_version"]
        assert (row["cached"], row["decision"]) == (False, None)
        # Without the deletion's own effect on cached results.
        await execute("UPDATE decision_thresholds SET chosen_at = chosen_at - interval '4 seconds'")
        assert (await answer(client, circles(500)))["cached"]
        names = {"categories": {"shape": {}}, "labels": [{"label": "circle", "category": "shape"}]}
        await client.put("/models/shapes/labels", json=names)
        row = await answer(client, circles(500))
        assert (row["cached"], [one["name"] for one in row["categories"]]) == (False, ["shape"])
