"""Reviews through the API."""

from typing import Any

import httpx
import pytest

from app.db.connection import execute
from app.db.crud.reviews import SAMPLE_SHARE
from app.observability import metrics
from tests.drawings import circles, stripes
from tests.integration.conftest import SECOND_MODEL
from tests.reviewing import review
from tests.teaching import answer, taught
from tests.uploading import WAIT, classify

pytestmark = pytest.mark.process


@pytest.fixture
def client(two_model_client: httpx.AsyncClient) -> httpx.AsyncClient:
    return two_model_client


async def read(client: httpx.AsyncClient, prediction_id: int) -> dict[str, Any]:
    prediction: dict[str, Any] = (await client.get(f"/predictions/{prediction_id}/")).json()
    return prediction


async def actions(client: httpx.AsyncClient, prediction_id: int) -> list[str]:
    entries = (await client.get(f"/predictions/{prediction_id}/history")).json()
    return [entry["action"] for entry in entries if entry["kind"] == "change"]


async def test_confirmed_label_is_the_models_own(client: httpx.AsyncClient) -> None:
    before = await classify(client)
    assert (before["verdict"], before["reviewed_at"], before["reviewed_by"]) == (None, None, None)
    assert (await review(client, ids=[before["id"]], verdict="confirmed"))["ids"] == [before["id"]]
    after = await read(client, before["id"])
    assert after == {**before, "verdict": "confirmed", "reviewed_by": "anonymous", "reviewed_at": after["reviewed_at"]}
    assert after["reviewed_at"]
    assert await actions(client, before["id"]) == ["prediction.confirmed"]


async def test_corrected_label_is_the_persons(client: httpx.AsyncClient) -> None:
    before = await classify(client)
    await review(client, ids=[before["id"]], verdict="corrected", label="my cat")
    after = await read(client, before["id"])
    assert (after["top_prediction"], after["confidence"], after["verdict"]) == ("my cat", 1, "corrected")
    assert after["corrected_at"] == after["reviewed_at"]
    assert after["all_predictions"] == before["all_predictions"]
    assert await actions(client, before["id"]) == ["prediction.corrected"]


@pytest.mark.parametrize("how", ["review", "correction"])
async def test_correction_to_the_models_own_label_confirms_it(client: httpx.AsyncClient, how: str) -> None:
    before = await classify(client)
    own = before["top_prediction"]
    if how == "review":
        await review(client, ids=[before["id"]], verdict="corrected", label=own)
    else:
        await client.put(f"/predictions/{before['id']}/", json={"top_prediction": own, "confidence": 1.0})
    after = await read(client, before["id"])
    assert (after["top_prediction"], after["verdict"]) == (own, "confirmed")
    assert await actions(client, before["id"]) == ["prediction.confirmed"]


async def test_undone_review_leaves_the_models_own_label(client: httpx.AsyncClient) -> None:
    confirmed, corrected = await classify(client), await classify(client)
    ids = [confirmed["id"], corrected["id"]]
    await review(client, ids=ids[:1], verdict="confirmed")
    await review(client, ids=ids[1:], verdict="corrected", label="my cat")
    assert (await review(client, ids=ids, verdict=None))["ids"] == ids
    assert [await read(client, number) for number in ids] == [confirmed, corrected]
    assert await actions(client, ids[1]) == ["prediction.unreviewed", "prediction.corrected"]
    # Nothing is left to undo.
    assert (await review(client, ids=ids, verdict=None))["ids"] == []
    assert len(await actions(client, ids[0])) == 2


async def test_missing_predictions_are_skipped_and_others_are_not(client: httpx.AsyncClient) -> None:
    there = (await classify(client))["id"]
    result = await review(client, ids=[there, 999, 2**63 - 1], verdict="confirmed")
    assert (result["reviewed"], result["ids"]) == (1, [there])
    assert [(one["id"], one["error"]["code"]) for one in result["skipped"]] == [
        (999, "prediction_not_found"),
        (2**63 - 1, "prediction_not_found"),
    ]


async def test_prediction_without_a_result_can_be_corrected_but_not_confirmed(client: httpx.AsyncClient) -> None:
    prediction = (await classify(client))["id"]
    await execute("UPDATE predictions SET status = 'failed', top_prediction = NULL, all_predictions = NULL")
    result = await review(client, ids=[prediction], verdict="confirmed")
    assert result["reviewed"] == 0
    assert result["skipped"][0]["error"]["code"] == "prediction_unfinished"
    await review(client, ids=[prediction], verdict="corrected", label="my cat")
    assert (await read(client, prediction))["verdict"] == "corrected"


INVALID_REVIEWS = [
    {"verdict": "confirmed"},
    {"ids": [], "verdict": "confirmed"},
    {"ids": [1], "filter": {"model": "a"}, "verdict": "confirmed"},
    {"ids": [1], "verdict": "corrected"},
    {"ids": [1], "verdict": "confirmed", "label": "tabby"},
    {"ids": [1], "verdict": None, "label": "tabby"},
    {"ids": [1]},
    {"ids": [1], "verdict": "wrong"},
    {"ids": [0], "verdict": "confirmed"},
    {"ids": ["1"], "verdict": "confirmed"},
    {"ids": [2**63], "verdict": "confirmed"},
    {"ids": [1], "verdict": "corrected", "label": "a\u0000b"},
    {"ids": [1], "verdict": "corrected", "label": " "},
    {"filter": {}, "verdict": "confirmed"},
    {"filter": {"model": "a"}, "verdict": "confirmed", "sampled": True},
    {"filter": {"colour": "red"}, "verdict": "confirmed"},
    {"ids": list(range(1, 10_002)), "verdict": "confirmed"},
]


async def test_invalid_reviews_are_refused(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    await classify(client)
    for body in INVALID_REVIEWS:
        with subtests.test(str(body)[:80]):
            assert (await client.post("/predictions/review", json=body)).status_code == 422
            assert (await read(client, 1))["verdict"] is None


async def outside_of_the_sample(client: httpx.AsyncClient, count: int) -> list[int]:
    """New predictions that are not in the random sample."""
    numbers: list[int] = []
    while len(numbers) < count:
        number = (await classify(client))["id"]
        (row,) = await execute("SELECT hashint8($1) % $2 = 0 AS is_sampled", [number, SAMPLE_SHARE])
        if row["is_sampled"]:
            await client.delete(f"/predictions/{number}/")
        else:
            numbers.append(number)
    return numbers


async def test_filter_reviews_what_nobody_has_reviewed(client: httpx.AsyncClient) -> None:
    numbers = await outside_of_the_sample(client, 4)
    await execute("UPDATE predictions SET confidence = array_position($1::bigint[], id) / 10.0", [numbers])
    await review(client, ids=numbers[3:], verdict="corrected", label="my cat")
    # What a person said stays.
    assert (await review(client, filter={"min_confidence": 0.2}, verdict="confirmed"))["ids"] == numbers[1:3]
    assert (await read(client, numbers[3]))["top_prediction"] == "my cat"
    assert (await review(client, filter={"label": "my cat"}, verdict=None))["ids"] == numbers[3:]
    assert (await review(client, filter={"min_confidence": 0.05, "max_confidence": 0.15}, verdict="confirmed"))[
        "ids"
    ] == numbers[:1]


@pytest.mark.parametrize("label", ["my cat", None])
async def test_persons_label_stays_when_the_image_is_classified_again(
    client: httpx.AsyncClient, label: str | None
) -> None:
    before = await classify(client)
    verdict = {"verdict": "corrected", "label": label} if label else {"verdict": "confirmed"}
    await review(client, ids=[before["id"]], **verdict)
    response = await client.post(f"/predictions/{before['id']}/reclassify", json={"model": SECOND_MODEL}, headers=WAIT)
    after = response.json()
    assert (after["status"], after["model"]) == ("succeeded", SECOND_MODEL)
    assert after["top_prediction"] == (label or before["top_prediction"])
    # The other model is a copy, so it gives the same label.
    assert after["verdict"] == ("corrected" if label else "confirmed")
    assert after["reviewed_at"]


async def test_verdict_is_on_the_model_that_answered_last(client: httpx.AsyncClient) -> None:
    before = await classify(client)
    await review(client, ids=[before["id"]], verdict="confirmed")
    # As if another model had given this label.
    await execute("UPDATE predictions SET top_prediction = 'my cat'")
    response = await client.post(f"/predictions/{before['id']}/reclassify", json={"model": SECOND_MODEL}, headers=WAIT)
    after = response.json()
    assert (after["top_prediction"], after["confidence"], after["verdict"]) == ("my cat", 1, "corrected")
    assert after["corrected_at"] == after["reviewed_at"]


async def test_custom_model_learns_from_reviews_and_forgets_undone_ones(client: httpx.AsyncClient) -> None:
    await taught(client, 4, retrain_after=0)
    confirmed, corrected = [(await answer(client, draw(500)))["id"] for draw in (circles, stripes)]
    # One that the model itself has classified.
    old = (await answer(client, circles(501)))["id"]
    await client.put(f"/models/shapes/examples/{old}", json={"label": "circle"})
    await review(client, ids=[confirmed, old], verdict="confirmed")
    await review(client, ids=[corrected], verdict="corrected", label="spiral", new_label=True)
    learned = {one["prediction_id"]: one["label"] for one in (await client.get("/models/shapes/examples")).json()}
    assert (learned[confirmed], learned[corrected], len(learned)) == ("circle", "spiral", 11)
    await review(client, ids=[confirmed, corrected, old], verdict=None)
    left = [one["prediction_id"] for one in (await client.get("/models/shapes/examples")).json()]
    assert len(left) == 9
    assert old in left


async def labels_of(client: httpx.AsyncClient) -> dict[int, str]:
    """Labels of the examples, by prediction."""
    examples = (await client.get("/models/shapes/examples")).json()
    return {example["prediction_id"]: example["label"] for example in examples}


async def test_undone_review_restores_the_label_of_an_example(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    number = (await answer(client, circles(500)))["id"]
    await client.put(f"/models/shapes/examples/{number}", json={"label": "stripe"})
    before = await labels_of(client)
    await review(client, ids=[number], verdict="corrected", label="circle")
    assert (await labels_of(client))[number] == "circle"
    await review(client, ids=[number], verdict=None)
    assert await labels_of(client) == before


@pytest.mark.parametrize("between", ["another review", "another model"])
async def test_undone_review_forgets_what_was_learned_before(client: httpx.AsyncClient, between: str) -> None:
    await taught(client, 3, retrain_after=0)
    number = (await answer(client, circles(500)))["id"]
    before = await labels_of(client)
    await review(client, ids=[number], verdict="confirmed")
    assert number in await labels_of(client)
    if between == "another review":
        await review(client, ids=[number], verdict="confirmed")
    else:
        await client.post(f"/predictions/{number}/reclassify", json={"model": SECOND_MODEL}, headers=WAIT)
    await review(client, ids=[number], verdict=None)
    assert await labels_of(client) == before


async def test_example_of_another_model_follows_a_later_label(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    number = (await answer(client, circles(500)))["id"]
    await review(client, ids=[number], verdict="corrected", label="stripe")
    await client.post(f"/predictions/{number}/reclassify", json={"model": SECOND_MODEL}, headers=WAIT)
    await review(client, ids=[number], verdict="corrected", label="circle")
    assert (await labels_of(client))[number] == "circle"
    # A label that the model lacks says nothing about its own.
    await review(client, ids=[number], verdict="corrected", label="tabby")
    assert (await labels_of(client))[number] == "circle"


async def test_review_says_what_a_custom_model_did_not_learn(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    first, second = [(await answer(client, circles(500)))["id"] for _ in range(2)]
    assert (await review(client, ids=[first], verdict="corrected", label="stripe"))["not_learned"] == []
    (contradiction,) = (await review(client, ids=[second], verdict="corrected", label="circle"))["not_learned"]
    assert (contradiction["id"], contradiction["error"]["code"]) == (second, "example_contradicts")
    assert f"prediction {first}" in contradiction["error"]["message"]
    (unknown,) = (await review(client, ids=[second], verdict="corrected", label="square"))["not_learned"]
    assert (unknown["id"], unknown["error"]["code"]) == (second, "label_unknown")
    assert (await review(client, ids=[second], verdict="corrected", label="other"))["not_learned"] == []


async def test_new_label_is_added_on_the_page_without_scripts(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    number = (await answer(client, circles(500)))["id"]
    page = await client.get("/review?model=shapes", headers={"Accept": "text/html"})
    assert 'name="new_label"' in page.text
    form = {"id": str(number), "text": "square", "new_label": "true"}
    assert (await client.post("/review", data=form)).status_code == 303
    assert (await labels_of(client))[number] == "square"


async def test_example_that_a_person_puts_outlives_the_review(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    number = (await answer(client, circles(500)))["id"]
    await review(client, ids=[number], verdict="confirmed")
    await client.put(f"/models/shapes/examples/{number}", json={"label": (await labels_of(client))[number]})
    before = await labels_of(client)
    await review(client, ids=[number], verdict=None)
    assert await labels_of(client) == before


async def test_review_that_fails_is_not_made_in_part(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    await execute("UPDATE custom_models SET labels = (SELECT jsonb_agg(n::text) FROM generate_series(1, 1000) AS n)")
    base, custom = (await classify(client))["id"], (await answer(client, circles(500)))["id"]
    counted = metrics.exposition()
    body = {"ids": [base, custom], "verdict": "corrected", "label": "one more", "new_label": True}
    response = await client.post("/predictions/review", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "label_unknown")
    assert [(await read(client, number))["verdict"] for number in (base, custom)] == [None, None]
    assert reviews_in(metrics.exposition()) == reviews_in(counted)


def reviews_in(exposition: bytes) -> list[str]:
    return [line for line in exposition.decode().splitlines() if line.startswith("image_classifier_reviews_total")]


async def test_filter_leaves_examples_as_they_are(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    number = (await answer(client, circles(500)))["id"]
    await client.put(f"/models/shapes/examples/{number}", json={"label": "stripe"})
    assert (await review(client, filter={"model": "shapes"}, verdict="confirmed"))["ids"] == []
    assert (await labels_of(client))[number] == "stripe"


@pytest.mark.parametrize("label", ["Other", "OTHER", "\uff4fther"])
async def test_other_is_one_label_however_it_is_written(client: httpx.AsyncClient, label: str) -> None:
    number = (await classify(client))["id"]
    await review(client, ids=[number], verdict="corrected", label=label)
    assert (await read(client, number))["top_prediction"] == "other"


async def test_new_labels_are_checked_like_those_of_other_routes(client: httpx.AsyncClient) -> None:
    await taught(client, 3, retrain_after=0)
    number = (await answer(client, circles(500)))["id"]
    body = {"ids": [number], "verdict": "corrected", "label": "a\nb", "new_label": True}
    response = await client.post("/predictions/review", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "label_unknown")
    assert (await read(client, number))["verdict"] is None
    await review(client, **{**body, "label": "cafe\u0301"})
    assert (await labels_of(client))[number] == "caf\u00e9"
