"""Long polls and server-sent events, for changes by any process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from app.cli.serve import Server
from app.config import Settings
from app.db.connection import execute
from app.db.notifications import MAX_UNREAD, StatusEvent, Subscription
from app.main import create_application
from tests.integration.rows import ROW
from tests.integration.shared_processes import SHARED
from tests.pictures import jpeg

pytestmark = pytest.mark.process

Event = tuple[str, dict[str, object]]


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, Server]]:
    """The application on a real server: httpx' ASGI transport returns a response only when it is complete."""
    application = create_application(settings, **await SHARED.running_for(settings))
    server = Server(uvicorn.Config(application, port=0, log_config=None, timeout_graceful_shutdown=30))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(30):
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client, server
        server.should_exit = True
        async with asyncio.timeout(10):
            await serving


@pytest.fixture(autouse=True)
def _no_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the server from ending its process, which is that of the tests."""
    monkeypatch.setattr("app.cli.serve.THREADS_END_SECONDS", 3600)


@pytest.fixture(autouse=True)
def _only_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns polling off: only notifications report changes."""
    for module in ("app.db.notifications", "app.api.events"):
        monkeypatch.setattr(f"{module}.POLL_SECONDS", 3600)


Web = tuple[httpx.AsyncClient, Server]


@pytest.fixture
async def process(settings: Settings) -> AsyncIterator[Web]:
    # Nobody looks for pending rows: only the tests change them.
    async with served(settings.model_copy(update={"recover_seconds": 3600})) as web:
        yield web


@pytest.fixture
def web(process: Web) -> httpx.AsyncClient:
    return process[0]


async def poll(process: Web, prediction_id: int, count: int = 1) -> "list[asyncio.Task[httpx.Response]]":
    """Long polls that have read the row and wait."""
    client, server = process
    path = f"/predictions/{prediction_id}/"
    polling = [asyncio.create_task(client.get(path, params={"wait": 30})) for _ in range(count)]
    events = server.lifespan.state["app_state"].notifications._waiters._events
    async with asyncio.timeout(10):
        while len(events.get(prediction_id, ())) < count:
            await asyncio.sleep(0.01)
    # Rows are read in the order in which they are asked for: theirs before this one.
    await client.get(path)
    return polling


async def row(status: str = "pending") -> int:
    await execute(ROW, [status, 1])
    (newest,) = await execute("SELECT max(id) AS id FROM predictions")
    return int(newest["id"])


async def finish(prediction_id: int) -> None:
    await execute("UPDATE predictions SET status = 'succeeded', completed_at = now() WHERE id = $1", [prediction_id])


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_long_poll_ends_with_a_change(process: Web) -> None:
    prediction_id = await row()
    (polling,) = await poll(process, prediction_id)
    await execute("UPDATE predictions SET status = 'processing' WHERE id = $1", [prediction_id])
    await finish(prediction_id)
    async with asyncio.timeout(10):
        answer = await polling
    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"


async def test_long_poll_ends_after_its_time_and_at_once_if_finished(web: httpx.AsyncClient) -> None:
    prediction_id = await row()
    assert (await web.get(f"/predictions/{prediction_id}", params={"wait": 1})).json()["status"] == "pending"
    await finish(prediction_id)
    async with asyncio.timeout(1):
        assert (await web.get(f"/predictions/{prediction_id}/", params={"wait": 30})).json()["status"] == "succeeded"
    assert (await web.get("/predictions/1000/", params={"wait": 30})).status_code == 404
    assert (await web.get("/predictions/1/", params={"wait": -1})).status_code == 422


async def test_head_request_of_a_stream_ends(web: httpx.AsyncClient) -> None:
    prediction_id = await row()
    for path in ("/events/", f"/predictions/{prediction_id}/events/"):
        async with asyncio.timeout(5):
            answer = await web.head(path)
        assert answer.status_code == 200
        assert answer.content == b""
        assert answer.headers["content-type"].startswith("text/event-stream")


async def test_long_poll_of_a_deleted_prediction_is_404(process: Web) -> None:
    prediction_id = await row()
    (polling,) = await poll(process, prediction_id)
    await process[0].delete(f"/predictions/{prediction_id}/")
    async with asyncio.timeout(10):
        assert (await polling).status_code == 404


async def test_stream_of_a_prediction_ends_when_it_is_finished(web: httpx.AsyncClient) -> None:
    prediction_id = await row()
    async with web.stream("GET", f"/predictions/{prediction_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        message = events(response)
        name, first = await anext(message)
        assert name == "prediction"
        assert first["status"] == "pending"
        await execute("UPDATE predictions SET status = 'processing' WHERE id = $1", [prediction_id])
        assert (await anext(message))[1]["status"] == "processing"
        await finish(prediction_id)
        name, last = await anext(message)
        assert name == "prediction"
        assert last == (await web.get(f"/predictions/{prediction_id}/")).json()
        assert [event async for event in message] == []
    assert (await web.get("/predictions/1000/events")).status_code == 404


async def test_stream_of_a_prediction_ends_with_its_deletion(web: httpx.AsyncClient) -> None:
    prediction_id = await row()
    async with web.stream("GET", f"/predictions/{prediction_id}/events") as response:
        message = events(response)
        await anext(message)
        await web.delete(f"/predictions/{prediction_id}/")
        assert [event async for event in message] == [("deleted", {"id": prediction_id})]


async def test_stream_reports_all_predictions(web: httpx.AsyncClient) -> None:
    async with web.stream("GET", "/events") as response:
        message = events(response)
        answer = await web.post("/predictions/", files={"file": ("a.jpg", jpeg())}, headers={"Prefer": "wait=30"})
        uploaded = answer.json()["id"]
        assert await anext(message) == ("prediction", {"id": uploaded, "status": "succeeded"})
        await execute(ROW, ["pending", 450])
        many = [await anext(message) for _ in range(450)]
        assert {event[1]["status"] for event in many} == {"pending"}
        assert len({event[1]["id"] for event in many}) == 450
        await web.delete(f"/predictions/{uploaded}/")
        assert await anext(message) == ("deleted", {"id": uploaded, "status": "deleted"})


async def test_many_waiting_clients_are_notified(process: Web) -> None:
    prediction_id = await row()
    polling = await poll(process, prediction_id, 50)
    await finish(prediction_id)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*polling)
    assert {answer.json()["status"] for answer in answers} == {"succeeded"}


async def test_notifications_resume_after_a_broken_connection(web: httpx.AsyncClient) -> None:
    prediction_id = await row()
    polling = asyncio.create_task(web.get(f"/predictions/{prediction_id}/", params={"wait": 30}))
    async with web.stream("GET", "/events") as response:
        message = events(response)
        await execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' "
            "AND datname = current_database()"
        )
        await finish(prediction_id)
        async with asyncio.timeout(5):
            assert (await polling).json()["status"] == "succeeded"
            assert (await anext(message))[0] == "missed"
            other = await row()
            assert await anext(message) == ("prediction", {"id": other, "status": "pending"})


async def test_shutdown_ends_streams_at_once(settings: Settings) -> None:
    async with served(settings.model_copy(update={"recover_seconds": 3600})) as (client, server):
        prediction_id = await row()
        polling = asyncio.create_task(client.get(f"/predictions/{prediction_id}/", params={"wait": 60}))
        async with (
            client.stream("GET", "/events") as everything,
            client.stream("GET", f"/predictions/{prediction_id}/events") as one,
        ):
            await anext(events(one))
            server.should_exit = True
            async with asyncio.timeout(5):
                # The stream may have started before the row's first event.
                pending = ("prediction", {"id": prediction_id, "status": "pending"})
                assert {json.dumps(event) for event in [event async for event in events(everything)]} <= {
                    json.dumps(pending)
                }
                assert (await polling).json()["status"] == "pending"


async def test_slow_client_gets_a_missed_event() -> None:
    subscription = Subscription()
    subscription.put([StatusEvent(1, "pending")])
    assert await subscription.next(1) == [StatusEvent(1, "pending")]
    assert await subscription.next(0.01) == []
    subscription.put([StatusEvent(n, "pending") for n in range(MAX_UNREAD)])
    subscription.put([StatusEvent(1, "pending")])
    assert await subscription.next(1) is None
    assert await subscription.next(0.01) == []


async def test_stream_reports_trainings(web: httpx.AsyncClient) -> None:
    await web.post("/models", json={"name": "shapes"})
    async with web.stream("GET", "/events") as response:
        message = events(response)
        # Without examples it fails, which is an end as well.
        training = (await web.post("/models/shapes/train")).json()
        for status in ("pending", "processing", "failed"):
            assert await anext(message) == ("training", {"id": training["id"], "status": status})


async def test_waiting_for_a_training_ends_with_it(web: httpx.AsyncClient) -> None:
    """Only notifications report its end: polling is turned off."""
    await web.post("/models", json={"name": "shapes"})
    answer = await web.post("/models/shapes/train", headers={"Prefer": "wait=25"})
    assert answer.json()["status"] == "failed"
    assert answer.headers["preference-applied"] == "wait=25"
