"""Status routes, documentation routes and error responses."""

import errno
import re
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest
from pydantic import SecretStr

from app.api.middleware.auth import OPEN_PATHS
from app.config import Settings
from app.db.crud import search
from app.db.embedded import embedded_postgres
from app.db.migrations import migrate
from app.domain import StartupError
from tests.integration.conftest import Upload, of_database, serving, uploaded_files
from tests.pictures import jpeg

pytestmark = pytest.mark.process

PROBLEM = "application/problem+json"


@pytest.mark.parametrize("slash", ["", "/"])
async def test_ping_and_health_respond(client: httpx.AsyncClient, slash: str) -> None:
    assert (await client.get(f"/ping{slash}")).json() == {"ping": "pong", "environment": "dev", "testing": True}
    assert (await client.get(f"/health{slash}")).json() == {"status": "healthy"}
    ready = await client.get(f"/ready{slash}")
    assert ready.status_code == 200
    assert ready.json() == {
        **dict.fromkeys(("database", "storage", "model", "worker"), "ok"),
        "status": "ready",
        "notes": [],
    }


async def test_models_and_info_list_models_and_images(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    listed = (await client.get("/models")).json()
    model = listed[0]
    assert model["name"] == settings.model
    assert model["kind"] == "image"
    assert model["default"]
    assert model["labels"] == 1000
    assert model["input_shape"] == [224, 224, 3]
    paths = [(await upload(jpeg())).json()["image_path"] for _ in range(2)]
    assert (await client.get("/info")).json() == {
        "models": [model["name"] for model in listed],
        "images": paths[::-1],
    }


async def test_use_of_the_fallback_model_is_reported_everywhere(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    only_fallback = settings.data_dir / "models"
    only_fallback.mkdir(parents=True)
    (only_fallback / settings.model).symlink_to(settings.models / settings.model)
    settings = settings.model_copy(update={"model": "auto", "models_dir": only_fallback})
    async with serving(settings) as client:
        (note,) = (await client.get("/ready")).json()["notes"]
        assert "MODEL_WEIGHTS" in note
        assert (await client.get("/models")).json()[0]["note"] == note
    assert note in caplog.text


async def test_swagger_and_redoc_load_nothing_from_other_hosts(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/docs/", "/redoc", "/redoc/"):
        page = await client.get(path)
        assert page.status_code == 200
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
        for asset in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
            assert (await client.get(asset)).status_code == 200


async def test_openapi_description_is_complete(client: httpx.AsyncClient) -> None:
    description = (await client.get("/openapi.json")).json()
    statuses = {
        (method, path): set(operation["responses"])
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    }
    for (method, path), answered in statuses.items():
        before, of_bodies = {"401", "403", "421", "429"}, {"400", "408", "413"}
        assert (before <= answered) == (path not in OPEN_PATHS)
        if "requestBody" in description["paths"][path][method]:
            assert of_bodies <= answered
            before |= of_bodies
        answered.difference_update(before)
    one = {"200", "404", "422", "503"}
    assert statuses == {
        ("post", "/predictions/"): {"201", "404", "409", "422", "503"},
        ("post", "/predictions/batch/"): {"200", "415", "422", "503"},
        ("get", "/predictions/{id}/events/"): one,
        ("get", "/predictions/{id}/deliveries/"): one,
        ("get", "/predictions/{id}/image/"): {*one, "304", "409"},
        ("get", "/predictions/{id}/heatmap/"): {*one, "304", "409"},
        ("get", "/predictions/export/"): {"200", "422", "503"},
        ("get", "/predictions/{id}/similar/"): one,
        ("get", "/accuracy"): {"200", "422", "503"},
        ("get", "/models/{name}/accuracy"): one,
        ("get", "/models/{name}/calibration"): one,
        ("get", "/models/{name}/decision"): one,
        ("put", "/models/{name}/decision"): {*one, "409"},
        ("get", "/predictions/labelled/"): {"200", "422", "503"},
        ("get", "/predictions/review/"): {"200", "422", "503"},
        ("post", "/predictions/review/"): {"200", "204", "422", "503"},
        ("get", "/models/{name}/labels"): {"200", "404", "422"},
        ("put", "/models/{name}/labels"): {"204", "404", "422", "503"},
        ("get", "/models/{name}/categories"): {"200", "404", "422"},
        ("get", "/shadow"): one - {"422"},
        ("put", "/shadow"): {"200", "422", "503"},
        ("delete", "/shadow"): {"204", "404", "503"},
        ("put", "/models/default"): {"200", "422", "503"},
        ("get", "/events/"): {"200"},
        ("get", "/predictions/"): {"200", "422", "503"},
        ("get", "/predictions/{id}/"): one,
        ("put", "/predictions/{id}/"): {*one, "204"},
        ("delete", "/predictions/{id}/"): {*one, "204"},
        ("post", "/predictions/{id}/reclassify/"): {"202", "204", "404", "409", "422", "503"},
        ("get", "/predictions/{id}/history/"): one,
        ("get", "/predict/{model}"): one,
        ("post", "/predict/{model}"): one,
        ("get", "/predict/"): one - {"422"},
        ("post", "/predict/"): one,
        ("get", "/prediction/"): one - {"422"},
        ("get", "/classifications/{id}/"): one,
        ("get", "/ping"): {"200"},
        ("get", "/health"): {"200"},
        ("get", "/ready"): {"200", "503"},
        ("get", "/models"): {"200"},
        ("post", "/models"): {"201", "204", "409", "422", "503"},
        ("get", "/models/{name}"): one,
        ("delete", "/models/{name}"): one - {"200"} | {"204"},
        ("get", "/models/{name}/examples"): one,
        ("put", "/models/{name}/examples/{id}"): {*one, "204", "409"},
        ("delete", "/models/{name}/examples/{id}"): one - {"200"} | {"204"},
        ("post", "/models/{name}/examples/batch"): {*one, "204", "415"},
        ("post", "/models/{name}/train"): one - {"200"} | {"202", "204"},
        ("get", "/models/{name}/trainings"): one,
        ("get", "/models/{name}/trainings/{number}"): one,
        ("get", "/models/{name}/trainings/{number}/wrong"): one,
        ("get", "/models/{name}/trainings/{number}/deliveries"): one,
        ("put", "/models/{name}/version"): {*one, "204", "409"},
        ("get", "/metrics"): {"200"},
        ("get", "/info"): {"200", "503"},
    }
    schemas = description["components"]["schemas"]
    for name in ("PredictionRead", "PredictionCorrection", "PredictionDeleted", "Problem", "Pong", "Ready", "Info"):
        assert schemas[name]["examples"], name
    upload = description["paths"]["/predictions/"]["post"]
    form = upload["requestBody"]["content"]["multipart/form-data"]["schema"]
    # What makes Swagger UI show a file chooser.
    assert form["properties"]["file"]["type"] == "string"
    assert form["properties"]["file"]["format"] == "binary"
    assert [parameter["name"] for parameter in upload["parameters"]] == ["prefer", "idempotency-key"]
    for operations in description["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]


async def test_unknown_path_and_wrong_method_are_problem_documents(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/nothing")
    assert unknown.status_code == 404
    assert unknown.headers["content-type"] == PROBLEM
    for path, allowed in {
        "/predictions/": "GET, POST",
        "/predictions": "GET, POST",
        "/predictions/1/": "GET, PUT, DELETE",
        "/ping": "GET",
    }.items():
        wrong = await client.patch(path)
        assert wrong.status_code == 405
        assert wrong.headers["content-type"] == PROBLEM
        assert wrong.headers["allow"] == allowed


async def test_head_works_wherever_get_does(client: httpx.AsyncClient) -> None:
    for path in ("/ping", "/health", "/ready", "/docs", "/predictions/", "/models/"):
        assert (await client.head(path)).status_code == 200
    assert (await client.head("/predictions/1/")).status_code == 404


async def test_internal_error_is_500_without_details(client: httpx.AsyncClient) -> None:
    with patch.object(search, "page", side_effect=RuntimeError("secret /etc/path SELECT")):
        answer = await client.get("/predictions/")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == PROBLEM
    assert "secret" not in answer.text


async def test_full_disk_is_503_and_leaves_nothing(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    with patch("os.fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        answer = await upload(jpeg())
    assert uploaded_files(settings) == []
    assert answer.status_code == 503
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["retry-after"]
    assert (await client.get("/predictions/")).json() == []


async def test_unmigrated_database_is_not_ready(settings: Settings, empty_database_url: str) -> None:
    settings = settings.model_copy(update={"database_url": SecretStr(empty_database_url)})
    async with serving(settings) as client:
        answer = await client.get("/ready")
        other = await client.get("/predictions/")
    assert answer.status_code == 503
    assert answer.json()["database"].endswith("): run `./classifier migrate`.")
    assert other.status_code == 503
    assert other.json()["code"] == "tables_missing"
    assert "./classifier migrate" in other.json()["detail"]


async def test_every_connection_error_is_503(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for number in [errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ETIMEDOUT]:
        with subtests.test(number=number):
            with patch.object(search, "execute", side_effect=OSError(number, "away")):
                answer = await client.get("/predictions/")
            assert answer.status_code == 503
            assert answer.headers["content-type"] == PROBLEM


async def test_other_bodies_have_a_small_limit(client: httpx.AsyncClient) -> None:
    answer = await client.put("/predictions/1/", json={"top_prediction": "x" * 70_000, "confidence": 1})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == PROBLEM


async def test_missing_database_is_reported_at_once(settings: Settings, postgres_url: str) -> None:
    settings = settings.model_copy(update={"database_url": SecretStr(of_database(postgres_url, "nowhere"))})
    with pytest.raises(StartupError, match=r"refused the connection \(.*nowhere\): check DATABASE_URL"):
        async with serving(settings):
            pass


async def test_unwritable_uploads_folder_is_reported(settings: Settings) -> None:
    settings = settings.model_copy(update={"uploads_dir": Path("/proc/uploads")})
    with pytest.raises(StartupError, match="cannot be stored in /proc/uploads"):
        async with serving(settings):
            pass


async def test_requests_are_503_while_the_database_is_unavailable(settings: Settings, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        # Ended by itself it would be started again, sooner or later than a request asks for it.
        server = await stack.enter_async_context(AsyncExitStack())
        url = await server.enter_async_context(embedded_postgres(tmp_path / "away", 30))
        await migrate(url, settings)
        client = await stack.enter_async_context(serving(settings.model_copy(update={"database_url": SecretStr(url)})))
        upload = {"file": ("a.jpg", jpeg())}
        assert (await client.post("/predictions/", files=upload)).status_code == 201
        await server.aclose()
        for call, path in [("GET", "/predictions/"), ("GET", "/predictions/1/"), ("DELETE", "/predictions/1/")]:
            answer = await client.request(call, path)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == PROBLEM
            assert int(answer.headers["retry-after"]) > 0
            assert "database" in answer.json()["detail"]
        answer = await client.post("/predictions/", files=upload)
        assert answer.status_code == 503
        assert len(uploaded_files(settings)) == 1
        ready = await client.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["status"] == "not ready"
        assert "database" in ready.json()["database"]
        assert (await client.get("/ping")).status_code == (await client.get("/health")).status_code == 200
