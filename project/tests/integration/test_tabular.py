"""Tabular models through the API: the two models of the iris data set."""

import asyncio
import json
import math
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest

from app.classifier.manifest import read_model
from app.classifier.tabular_classifier import TabularClassifier
from app.config import Settings
from app.db.connection import execute
from app.domain import DatabaseUnavailable, ModelBroken
from tests.integration.conftest import serving

pytestmark = [pytest.mark.process, pytest.mark.all_models]

LOGISTIC, FOREST = "iris_logistic_regression", "iris_random_forest"
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SETOSA = dict(zip(FEATURES, [5.1, 3.5, 1.4, 0.2], strict=True))
VERSICOLOR = dict(zip(FEATURES, [7.0, 3.2, 4.7, 1.4], strict=True))
VIRGINICA = dict(zip(FEATURES, [6.3, 3.3, 6.0, 2.5], strict=True))
ALL = {"setosa": SETOSA, "versicolor": VERSICOLOR, "virginica": VIRGINICA}


@pytest.mark.parametrize("model", [LOGISTIC, FOREST])
async def test_single_row_or_list_is_accepted(client: httpx.AsyncClient, model: str) -> None:
    for label, row in ALL.items():
        answer = (await client.post(f"/predict/{model}", json=row)).json()
        assert answer["label"] == label
        assert answer["model"] == model
        assert answer["probabilities"].keys() == ALL.keys()
        assert math.isclose(sum(answer["probabilities"].values()), 1, abs_tol=1e-5)
        assert answer["probabilities"][label] == max(answer["probabilities"].values()) > 0.6
    several = (await client.post(f"/predict/{model}/", json=list(ALL.values()))).json()
    assert [answer["label"] for answer in several] == list(ALL)


@pytest.mark.parametrize("model", [LOGISTIC, FOREST])
async def test_get_returns_a_result_for_the_defaults(client: httpx.AsyncClient, model: str) -> None:
    answer = await client.get(f"/predict/{model}")
    assert answer.status_code == 200
    listed = {one["name"]: one for one in (await client.get("/models")).json()}[model]
    defaults = {feature["name"]: feature["default"] for feature in listed["features"]}
    assert list(defaults) == FEATURES
    assert answer.json() == (await client.post(f"/predict/{model}", json=defaults)).json()
    assert answer.json() == (await client.post(f"/predict/{model}", json={})).json()


async def test_list_of_models_has_the_features(client: httpx.AsyncClient) -> None:
    listed = {one["name"]: one for one in (await client.get("/models")).json()}[FOREST]
    assert listed["kind"] == "tabular"
    assert listed["labels"] == 3
    assert listed["runtime"] == "onnx"
    assert listed["input_shape"] is None
    first = listed["features"][0]
    assert first == {
        "name": "sepal_length",
        "unit": "cm",
        "minimum": 0.0,
        "maximum": 10.0,
        "default": 5.8,
        "description": "Length of the sepal.",
    }


async def test_invalid_row_is_422(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for body, where, message in [
        ({**SETOSA, "petal_width": 10.5}, ["body", "petal_width"], "less than or equal to 10"),
        ({**SETOSA, "petal_width": -1}, ["body", "petal_width"], "greater than or equal to 0"),
        ({**SETOSA, "petal_width": "0.2"}, ["body", "petal_width"], "valid number"),
        ({**SETOSA, "petal_width": True}, ["body", "petal_width"], "valid number"),
        ({**SETOSA, "petal_width": None}, ["body", "petal_width"], "valid number"),
        ({**SETOSA, "petal_with": 0.2}, ["body", "petal_with"], "Extra inputs are not permitted"),
        ([SETOSA, {**SETOSA, "sepal_width": 11}], ["body", 1, "sepal_width"], "less than or equal to 10"),
        ([SETOSA, 5], ["body", 1], "valid dictionary"),
        ([], ["body"], "at least one row"),
        ("setosa", ["body"], "valid dictionary"),
        ("null", ["body"], "valid dictionary"),
    ]:
        with subtests.test(body=body):
            answer = await client.post(f"/predict/{FOREST}", json=body)
            assert answer.status_code == 422
            (detail,) = answer.json()["detail"]
            assert detail["loc"] == where
            assert message in detail["msg"]


async def test_odd_bodies_are_422(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for body in [b"", b"{", b"[" * 50_000, b'{"petal_width": NaN}', b'{"petal_width": 1e999}', b"\xff"]:
        with subtests.test(body=body):
            answer = await client.post(f"/predict/{FOREST}", content=body)
            assert answer.status_code == 422
            assert json.loads(answer.content)["detail"][0]["loc"][0] == "body"


async def test_image_models_are_404(client: httpx.AsyncClient, settings: Settings) -> None:
    for name in ("nothing", settings.model):
        answer = await client.get(f"/predict/{name}")
        assert answer.status_code == 404
        assert answer.json()["code"] == "model_unknown"
    files = {"file": ("a.jpg", b"")}
    answer = await client.post("/predictions/", files=files, data={"model": FOREST})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "model"]


async def test_identical_requests_use_the_cache(client: httpx.AsyncClient) -> None:
    real, calls = TabularClassifier.classify, 0

    def counted(classifier: TabularClassifier, rows: object) -> object:
        nonlocal calls
        calls += 1
        return real(classifier, rows)  # type: ignore[arg-type]

    with patch.object(TabularClassifier, "classify", counted):
        first = await client.post(f"/predict/{FOREST}", json=SETOSA)
        again = await client.post(f"/predict/{FOREST}", json=SETOSA)
        other = await client.post(f"/predict/{LOGISTIC}", json=SETOSA)
    assert first.json() == again.json()
    statuses = [answer.headers["cache-status"] for answer in (first, again, other)]
    assert statuses == [f"image-classifier; {message}" for message in ("fwd=miss; stored", "hit", "fwd=miss; stored")]
    assert calls == 2


async def test_cache_is_limited_in_rows_and_time(settings: Settings) -> None:
    changed = settings.model_copy(update={"predict_cache_rows": 2, "predict_cache_seconds": 0.2})
    async with serving(changed) as client:

        async def status(*rows: object) -> str:
            answer = await client.post(f"/predict/{FOREST}", json=list(rows))
            return answer.headers["cache-status"].removeprefix("image-classifier; ")

        assert await status(SETOSA, SETOSA, SETOSA) == "fwd=miss"
        assert await status(SETOSA, SETOSA) == "fwd=miss; stored"
        assert await status(VIRGINICA) == "fwd=miss; stored"
        assert await status(SETOSA, SETOSA) == "fwd=miss; stored"
        assert await status(SETOSA, SETOSA) == "hit"
        async with asyncio.timeout(10):
            while await status(SETOSA, SETOSA) == "hit":
                await asyncio.sleep(0.05)


async def test_cache_can_be_turned_off(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"predict_cache_rows": 0})) as client:
        for _ in range(2):
            answer = await client.get(f"/predict/{FOREST}")
            assert answer.headers["cache-status"] == "image-classifier; fwd=miss"


async def test_every_result_is_stored_after_the_response(client: httpx.AsyncClient) -> None:
    await client.post(f"/predict/{FOREST}", json=[SETOSA, VIRGINICA])
    await client.post(f"/predict/{FOREST}", json=[SETOSA, VIRGINICA])
    rows = await execute("SELECT * FROM tabular_predictions ORDER BY id")
    assert [row["label"] for row in rows] == ["setosa", "virginica"] * 2
    assert [row["cached"] for row in rows] == [False, False, True, True]
    assert json.loads(rows[0]["features"]) == SETOSA
    assert json.loads(rows[0]["probabilities"]).keys() == ALL.keys()
    assert rows[0]["model"] == FOREST


async def test_unavailable_database_affects_no_response(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with patch("app.db.crud.tabular_predictions.execute", side_effect=DatabaseUnavailable):
        assert (await client.get(f"/predict/{FOREST}")).status_code == 200
    assert "1 results of iris_random_forest were not stored" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (f"{FOREST}.onnx", b"no network", "ONNX Runtime cannot load"),
        ("labels.txt", b"one\ntwo\n", "no output of 2 probabilities"),
    ],
)
def test_broken_tabular_model_is_reported(
    all_models: Path, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    for path in (all_models / FOREST).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelBroken, match=message):
        TabularClassifier(read_model(tmp_path))


def test_serving_never_unpickles(all_models: Path) -> None:
    for name in (LOGISTIC, FOREST):
        endings = {path.suffix for path in (all_models / name).iterdir()}
        assert endings == {".onnx", ".toml", ".txt"}
