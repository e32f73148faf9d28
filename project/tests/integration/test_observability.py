"""Request IDs, durations, the log and metrics of requests."""

import json
import logging
import math
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.middleware.request_log import REQUEST_ID
from app.config import Settings
from app.domain import DatabaseUnavailable
from app.observability import metrics
from app.observability.log_events import PREDICTION, REQUEST, REQUEST_ERROR
from app.observability.log_format import make_formatter
from tests.integration.conftest import serving
from tests.pictures import encoded, jpeg, scene
from tests.uploading import classify

pytestmark = pytest.mark.process

TIMING = re.compile(r"\w+;dur=\d+\.\d(, \w+;dur=\d+\.\d)*")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def samples(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def added(before: Samples, after: Samples, name: str, **labels: str) -> float:
    key = f"image_classifier_{name}", frozenset(labels.items())
    return after.get(key, 0) - before.get(key, 0)


def now(after: Samples, name: str, **labels: str) -> float:
    return after[f"image_classifier_{name}", frozenset(labels.items())]


async def test_request_id_of_the_client_is_kept(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for sent in ["mine-1", "a" * 128, "6b1f/x+y=@z:1.2"]:
        with subtests.test(sent=sent):
            assert (await client.get("/ping", headers={"X-Request-ID": sent})).headers["x-request-id"] == sent


async def test_route_is_the_pattern_of_the_path(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for method, path, route in [
        ("GET", "/static/icon.svg", "/static"),
        ("HEAD", "/ping", "/ping"),
        ("HEAD", "/predictions/7", "/predictions/{id}/"),
        ("GET", "/predictions/7", "/predictions/{id}/"),
        ("GET", "/nothing/here", "elsewhere"),
        ("POST", "/models", "/models"),
    ]:
        with subtests.test(method=method, path=path):
            before = await samples(client)
            status = str((await client.request(method, path)).status_code)
            after = await samples(client)
            assert added(before, after, "requests_total", method=method, route=route, status=status) == 1


async def test_rejected_request_has_its_route(settings: Settings) -> None:
    def refused(route: str) -> float:
        count: float = metrics.REQUESTS.labels("GET", route, 401)._value.get()
        return count

    before = [refused("/predictions/{id}/"), refused("/metrics")]
    async with serving(settings.model_copy(update={"allow_anonymous": False})) as client:
        assert (await client.get("/predictions/7")).status_code == 401
        assert (await client.get("/metrics")).status_code == 401
    assert [refused("/predictions/{id}/"), refused("/metrics")] == [count + 1 for count in before]


async def test_unsafe_request_id_is_replaced(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for sent in ["", "ic_6f0c1d2b9a3e_" + "a" * 43, "a" * 129, "two words", "new\tline", '{"a": 1}', "ünï"]:
        with subtests.test(sent=sent):
            message = (await client.get("/ping", headers=[(b"X-Request-ID", sent.encode())])).headers["x-request-id"]
            assert re.fullmatch("[0-9a-f]{32}", message)
            assert REQUEST_ID.fullmatch(message.encode())


async def test_every_response_has_its_duration(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for path in ["/ping", "/predictions/", "/nothing", "/predictions/999/", "/static/style.css"]:
        with subtests.test(path=path):
            headers = (await client.get(path)).headers
            assert 0 <= float(headers["x-process-time"]) < 30
            assert TIMING.fullmatch(headers["server-timing"])
            assert headers["x-request-id"]


async def test_upload_reports_the_duration_of_each_step(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait=30"})
    parts = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(parts) == ["receive", "inspect", "decode", "infer", "store", "create", "total"]
    assert all(float(parts[name]) > 0 for name in ("receive", "decode", "infer", "create"))
    assert float(parts["total"]) >= float(parts["decode"]) + float(parts["infer"])


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """Parsed log lines, without those of the test's client."""
    found = [json.loads(line) for line in caplog.handler.stream.getvalue().splitlines()]
    return [line for line in found if line["logger"] != "httpx"]


async def test_each_request_and_each_prediction_has_one_log_line(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(make_formatter("json"))
    caplog.set_level(logging.INFO)
    image = jpeg()
    headers = {"Prefer": "wait=30", "X-Request-ID": "mine-7"}
    answer = await client.post("/predictions?unused=secret", files={"file": image}, headers=headers)
    message = lines(caplog)
    (request,) = [line for line in message if line["event"] == REQUEST.name]
    assert {name: request[name] for name in ("method", "route", "status", "key_id", "request_id", "level")} == {
        "method": "POST",
        "route": "/predictions/",
        "status": 201,
        "key_id": None,
        "request_id": "mine-7",
        "level": "info",
    }
    assert len(image) < int(str(request["bytes_in"])) < len(image) + 1_000
    assert request["bytes_out"] == len(answer.content)
    assert 0 < float(str(request["duration_ms"])) < 30_000
    assert "secret" not in json.dumps(message)
    (prediction,) = [line for line in message if line["event"] == PREDICTION.name]
    row = answer.json()
    assert prediction["prediction_id"] == row["id"]
    assert prediction["status"] == "succeeded"
    assert prediction["model"] == row["model"]
    assert prediction["model_version"] == row["model_version"]
    assert prediction["attempt"] == 1
    assert not prediction["cached"]
    assert prediction["request_id"] == "mine-7"
    assert float(str(prediction["decode_ms"])) + float(str(prediction["infer_ms"])) <= float(
        str(prediction["duration_ms"])
    )


async def test_static_files_and_thumbnails_are_logged_at_debug_unless_they_fail(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    prediction = await classify(client)
    caplog.handler.setFormatter(make_formatter("json"))
    caplog.set_level(logging.DEBUG)
    for path, level in [
        ("/static/icon.svg", "debug"),
        ("/predictions/{id}/image?size=100", "debug"),
        ("/predictions/{id}/", "info"),
        ("/static/nothing.svg", "info"),
        ("/predictions/7000000/image", "info"),
    ]:
        with subtests.test(path=path):
            caplog.clear()
            await client.get(path.format(id=prediction["id"]))
            (request,) = [line for line in lines(caplog) if line["event"] == REQUEST.name and line["method"] == "GET"]
            assert request["level"] == level


async def test_internal_error_is_logged_with_its_request_id(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def goes_wrong(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("app.api.uploads.accept_upload", goes_wrong)
    caplog.handler.setFormatter(make_formatter("json"))
    before = await samples(client)
    answer = await client.post("/predictions/", files={"file": jpeg()}, headers={"X-Request-ID": "mine-9"})
    assert answer.status_code == 500
    assert answer.json()["title"] == "Internal Server Error"
    assert answer.headers["x-request-id"] == "mine-9"
    assert answer.headers["x-content-type-options"] == "nosniff"
    after = await samples(client)
    assert added(before, after, "requests_total", method="POST", route="/predictions/", status="500") == 1
    (error,) = [line for line in lines(caplog) if line["event"] == REQUEST_ERROR.name]
    assert error["request_id"] == "mine-9"
    assert error["level"] == "error"
    assert "RuntimeError: a mistake" in str(error["exception"])


async def test_database_metrics_are_absent_while_it_is_unavailable(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert now(await samples(client), "database_up") == 1

    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr("app.api.metrics._update_gauges", away)
    after = await samples(client)
    assert now(after, "database_up") == 0
    assert math.isnan(now(after, "queue_age_seconds"))
    assert math.isnan(now(after, "workers_alive"))


async def test_metrics_count_requests_and_predictions(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"reuse_answers": True})) as client:
        before = await samples(client)
        files = [jpeg(), jpeg(), encoded(scene(90, 80), "PNG")]
        rows = [
            (await client.post("/predictions/", files={"file": file}, headers={"Prefer": "wait=30"})).json()
            for file in files
        ]
        broken = jpeg()[:2000]
        await client.post("/predictions/", files={"file": broken}, headers={"Prefer": "wait=30"})
        await client.post("/predictions/", files={"file": b"no image"})
        await client.put(f"/predictions/{rows[0]['id']}/", json={"top_prediction": "cat", "confidence": 1})
        await client.get(f"/predictions/{rows[0]['id']}")
        await client.request("BREW", "/predictions/")
        after = await samples(client)
    model = rows[0]["model"]
    assert added(before, after, "requests_total", method="POST", route="/predictions/", status="201") == 4
    assert added(before, after, "requests_total", method="POST", route="/predictions/", status="400") == 1
    assert added(before, after, "requests_total", method="GET", route="/predictions/{id}/", status="200") == 1
    assert added(before, after, "requests_total", method="other", route="/predictions/", status="405") == 1
    assert added(before, after, "request_duration_seconds_count", route="/predictions/") >= 5
    assert added(before, after, "uploads_total", model=model) == 4
    assert added(before, after, "uploaded_bytes_total") == sum(map(len, [*files, broken]))
    assert added(before, after, "predictions_total", model=model, status="succeeded") == 3
    assert added(before, after, "predictions_total", model=model, status="failed") == 1
    # The same bytes twice; what was refused was asked of nobody.
    assert added(before, after, "cache_hits_total", cache="answers") == 1
    assert added(before, after, "cache_misses_total", cache="answers") == 3
    assert added(before, after, "corrections_total", model=model) == 1
    for stage in ("decode", "infer"):
        assert added(before, after, "stage_duration_seconds_count", stage=stage) == 2
    assert added(before, after, "stage_duration_seconds_count", stage="receive") == 5
    assert now(after, "database_up") == 1
    assert now(after, "workers_alive") == 1
    assert now(after, "queue_depth", status="pending") == now(after, "queue_age_seconds") == 0


async def test_queue_metrics_cover_rows_of_all_processes(settings: Settings) -> None:
    async with serving(settings) as client:
        from app.db.connection import execute

        row = (await client.post("/predictions/", files={"file": jpeg()}, headers={"Prefer": "wait=30"})).json()
        await execute(
            "UPDATE predictions SET status = 'processing', lease_expires_at = now() + interval '1 hour', "
            "created_at = now() - interval '90 seconds' WHERE id = $1",
            [row["id"]],
        )
        after = await samples(client)
    assert now(after, "queue_depth", status="processing") == 1
    assert 90 <= now(after, "queue_age_seconds") < 120
