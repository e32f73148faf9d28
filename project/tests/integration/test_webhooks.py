"""Webhooks: signatures, retries over a day, private addresses, and independence from predictions."""

import asyncio
import base64
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from app.config import Settings
from app.db.connection import execute
from app.db.crud import webhook_deliveries
from app.domain import DatabaseUnavailable
from app.models.tortoise import Delivery
from app.outbound.addresses import check_url
from app.outbound.webhook_sender import WebhookSender
from app.outbound.webhook_worker import WebhookWorker
from app.worker import job_queue
from tests.drawings import examples
from tests.integration.conftest import serving
from tests.pictures import jpeg
from tests.teaching import add, create, taught
from tests.uploading import upload

pytestmark = pytest.mark.process

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

Answer = tuple[int, dict[str, str], bytes]


class Receiver:
    """A web server that records requests and sends prepared responses."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.arrived = asyncio.Event()
        self.hold: Callable[[], Awaitable[object]] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {line.split(": ")[0].lower(): line.split(": ")[1] for line in head.split("\r\n")[1:-2]}
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append((headers, body))
        self.arrived.set()
        if self.hold:
            await self.hold()
        status = self.answers.pop(0) if self.answers else 204
        writer.write(f"HTTP/1.1 {status} x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def next(self) -> tuple[dict[str, str], bytes]:
        """The next request."""
        async with asyncio.timeout(20):
            await self.arrived.wait()
        self.arrived.clear()
        return self.received[-1]


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield receiver, f"http://127.0.0.1:{port}/hook?of=mine"
    finally:
        server.close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_secret": SecretStr(SECRET), "webhooks_to_private": True})


async def state(client: httpx.AsyncClient, prediction_id: int) -> dict[str, Any]:
    (delivery,) = (await client.get(f"/predictions/{prediction_id}/deliveries")).json()
    assert isinstance(delivery, dict)
    return delivery


async def settled(client: httpx.AsyncClient, prediction_id: int, attempts: int = 1) -> dict[str, Any]:
    """The state of a webhook after ``attempts`` attempts."""
    async with asyncio.timeout(20):
        while True:
            found = await state(client, prediction_id)
            if found["attempts"] == attempts and (found["response_status"] or found["error"] or found["delivered_at"]):
                return found
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("count", [1, 4])
async def test_end_of_a_training_is_reported(client: httpx.AsyncClient, count: int) -> None:
    """Of one that fails, for want of examples, and of one that succeeds."""
    await create(client)
    await add(client, examples(count))
    async with receiving() as (receiver, url):
        training = (await client.post("/models/shapes/train", json={"webhook_url": url})).json()
        # As by a client that repeats its request.
        await webhook_deliveries.add_for_training(training["id"], url)
        message, body = await receiver.next()
        verified = Webhook(SECRET).verify(body, message)
        path = f"/models/shapes/trainings/{training['id']}"
        row = (await client.get(path)).json()
        assert row["status"] == ("failed" if count == 1 else "succeeded")
        assert verified == {"type": f"training.{row['status']}", "timestamp": row["completed_at"], "data": row}
        async with asyncio.timeout(20):
            while (found := (await client.get(f"{path}/deliveries")).json())[0]["status"] != "delivered":
                await asyncio.sleep(0.02)
        assert [one["url"] for one in found] == [url]
        assert len(receiver.received) == 1


async def test_training_that_has_ended_is_reported_at_once(client: httpx.AsyncClient) -> None:
    training = await taught(client, 3)
    async with receiving() as (receiver, url):
        await webhook_deliveries.add_for_training(training["id"], url)
        _, body = await receiver.next()
    assert json.loads(body)["data"]["id"] == training["id"]


async def test_invalid_webhook_of_a_training_is_refused(client: httpx.AsyncClient) -> None:
    await create(client)
    response = await client.post("/models/shapes/train", json={"webhook_url": "ftp://example.com"})
    assert response.status_code == 422
    assert (await client.get("/models/shapes/trainings")).json() == []


@pytest.mark.parametrize("wait", [False, True])
async def test_webhook_is_sent_once(client: httpx.AsyncClient, wait: bool) -> None:
    async with receiving() as (receiver, url):
        prediction_id = (await upload(client, webhook_url=url, wait=wait)).json()["id"]
        message, body = await receiver.next()
        verified = Webhook(SECRET).verify(body, message)
        row = (await client.get(f"/predictions/{prediction_id}/")).json()
        assert verified == {"type": "prediction.succeeded", "timestamp": row["completed_at"], "data": row}
        assert message["content-type"] == "application/json"
        delivery = await settled(client, prediction_id)
        assert delivery["status"] == "delivered"
        assert delivery["response_status"] == 204
        assert delivery["error"] is None
        assert message["webhook-id"] == f"msg_{delivery['id']}"
        assert len(receiver.received) == 1
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body.replace(b"succeeded", b"failed"), message)


async def test_webhook_is_sent_for_a_failure(client: httpx.AsyncClient) -> None:
    async with receiving() as (receiver, url):
        answer = await upload(client, jpeg()[:-3000], webhook_url=url, wait=True)
        message, body = await receiver.next()
        Webhook(SECRET).verify(body, message)
        assert answer.json()["status"] == "failed"
        assert json.loads(body)["type"] == "prediction.failed"


async def test_failed_webhook_is_retried_with_the_same_id(client: httpx.AsyncClient) -> None:
    async with receiving() as (receiver, url):
        receiver.answers = [500, 302, 200]
        prediction_id = (await upload(client, webhook_url=url, wait=True)).json()["id"]
        for attempt, (status, pause) in enumerate([(500, 5), (302, 60)], 1):
            await receiver.next()
            found = await settled(client, prediction_id, attempt)
            assert found["status"] == "pending"
            assert found["response_status"] == status
            assert found["error"] == f"The receiver responded with {status}."
            until = datetime.fromisoformat(found["next_attempt_at"]) - datetime.now(UTC)
            assert pause - 3 < until.total_seconds() <= pause
            await execute("UPDATE deliveries SET next_attempt_at = now()")
        await receiver.next()
        assert (await settled(client, prediction_id, 3))["status"] == "delivered"
        assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1


def test_attempts_are_spread_over_a_day() -> None:
    assert timedelta(hours=23) < sum(webhook_deliveries.SCHEDULE, timedelta()) < timedelta(hours=25)
    assert list(webhook_deliveries.SCHEDULE) == sorted(webhook_deliveries.SCHEDULE)


@pytest.mark.parametrize(("answers", "attempts"), [([410], 1), ([500], len(webhook_deliveries.SCHEDULE) + 1)])
async def test_webhook_ends_after_the_last_attempt_or_410(
    client: httpx.AsyncClient, answers: list[int], attempts: int
) -> None:
    async with receiving() as (receiver, url):
        receiver.answers = answers
        await execute("ALTER TABLE deliveries ALTER COLUMN attempts SET DEFAULT 0")
        with patch("app.db.crud.new_predictions._ADD_WEBHOOKS", _with_attempts(attempts - 1)):
            prediction_id = (await upload(client, webhook_url=url, wait=True)).json()["id"]
        await receiver.next()
        found = await settled(client, prediction_id, attempts)
        assert found["status"] == "failed"
        assert found["next_attempt_at"] is None


def _with_attempts(attempts: int) -> str:
    from app.db.crud import new_predictions

    return re.sub(r"END, 0,", f"END, {attempts},", new_predictions._ADD_WEBHOOKS)


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "::ffff:10.0.0.1"),
    *("fe80::1", "fc00::1", "64:ff9b::a00:1", "224.0.0.1", "2002:a00:1::1", "fec0::1", "::10.0.0.1", "64:ff9b:1::1"),
]


@pytest.mark.slow
async def test_webhook_is_not_sent_to_a_private_address(settings: Settings) -> None:
    """The address that a name resolves to decides, and the connection goes to that address."""
    real = socket.getaddrinfo
    address = ""

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        leads_to = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80)),
            (family, socket.SOCK_STREAM, 6, "", (address, 80)),
        ]
        return leads_to if host == "innocent.example" else real(host, *args, **options)

    async with serving(settings.model_copy(update={"webhooks_to_private": False})) as client:
        with patch("socket.getaddrinfo", resolve):
            for address in PRIVATE:
                prediction_id = (await upload(client, webhook_url="http://innocent.example/", wait=True)).json()["id"]
                found = await settled(client, prediction_id)
                assert found["error"] == "This address is not allowed.", address
                assert found["status"] == "pending"
                assert found["response_status"] is None


NO_ADDRESSES = [
    "ftp://example.com/",
    "example.com",
    "http://",
    "http://user@example.com/",
    "http://example.com/#x",
    "http://[::1",
    "http://example.com:0/",
    "http://example.com:99999/",
    "https://" + "x" * 2048,
    "http://exämple.com/",
    "file:///etc/passwd",
    "http://a.com/\x00",
    "http://a.com/a b",
]


async def test_invalid_url_is_422(client: httpx.AsyncClient) -> None:
    for url in NO_ADDRESSES:
        with pytest.raises(ValueError, match="it "):
            check_url(url)
        answer = await upload(client, webhook_url=url, wait=True)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "webhook_url"]
    assert await execute("SELECT 1 FROM predictions") == []


async def test_webhooks_are_disabled_without_a_secret(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"webhook_secret": None})) as client:
        answer = await upload(client, webhook_url="https://example.com/hook", wait=True)
        assert answer.status_code == 422
        assert "WEBHOOK_SECRET" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("secret", ["x", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64"])
def test_invalid_secret_is_rejected_and_not_displayed(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        Settings(webhook_secret=SecretStr(secret))


async def test_hanging_receivers_delay_no_predictions(client: httpx.AsyncClient) -> None:
    released = asyncio.Event()
    async with receiving() as (receiver, url):
        receiver.hold = released.wait
        for _ in range(20):
            await upload(client, webhook_url=url, wait=True)
        async with asyncio.timeout(20):
            while len(receiver.received) < 4:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(5):
            answer = await upload(client, webhook_url="", wait=True)
        assert answer.json()["status"] == "succeeded"
        # Nor anybody else's webhook: one receiver has no more attempts than its own.
        async with receiving() as (other, other_url):
            await upload(client, webhook_url=other_url, wait=True)
            await other.next()
        assert len(receiver.received) == 4
        released.set()
        async with asyncio.timeout(20):
            while len(receiver.received) < 20:
                await asyncio.sleep(0.02)


async def test_attempt_is_repeated_after_its_process_died(client: httpx.AsyncClient) -> None:
    async with receiving() as (receiver, url):
        with patch.object(WebhookSender, "attempt", side_effect=SystemError("it died here")):
            prediction_id = (await upload(client, webhook_url=url, wait=True)).json()["id"]
            async with asyncio.timeout(20):
                while (found := await state(client, prediction_id))["attempts"] == 0:
                    await asyncio.sleep(0.02)
        assert found["status"] == "pending"
        assert receiver.received == []
        await execute("UPDATE deliveries SET next_attempt_at = now()")
        await receiver.next()
        assert (await settled(client, prediction_id, 2))["status"] == "delivered"


async def test_workers_send_webhooks_from_the_queue(settings: Settings, database_url: str) -> None:
    await job_queue.install(database_url)
    webhook_worker = WebhookWorker(WebhookSender(SECRET, lambda _: None, to_private=True))
    jobs = job_queue.JobConsumer(
        database_url, job_queue.DELIVER, webhook_worker.run_job, max_jobs=16, heartbeat=1, poll=0.2
    )
    async with receiving() as (receiver, url), serving(settings) as client:
        receiver.answers = [500, 200]
        with patch("app.db.crud.webhook_deliveries.SCHEDULE", (timedelta(seconds=0.5),) * 8):
            stop = asyncio.Event()
            # Those beside the web server look away.
            with patch("app.outbound.webhook_worker.webhook_deliveries.claim_due", return_value=None):
                taking = asyncio.create_task(jobs.run(stop))
                prediction_id = (await upload(client, webhook_url=url, wait=True)).json()["id"]
                await job_queue.enqueue_deliveries()
                await job_queue.enqueue_deliveries()
                assert len(await execute("SELECT 1 FROM pgqueuer WHERE entrypoint = 'deliver'")) == 1
                assert (await settled(client, prediction_id, 2))["status"] == "delivered"
                stop.set()
                await taking
        assert len(receiver.received) == 2
        assert await execute("SELECT 1 FROM pgqueuer") == []


async def test_webhook_of_a_deleted_prediction_is_not_sent(client: httpx.AsyncClient) -> None:
    prediction_id = (await upload(client, webhook_url="", wait=True)).json()["id"]
    assert (await client.get(f"/predictions/{prediction_id}/deliveries/")).json() == []
    assert (await client.get("/predictions/1000/deliveries")).status_code == 404


async def test_reclassified_prediction_sends_its_webhook_when_finished(client: httpx.AsyncClient) -> None:
    async with receiving() as (receiver, url):
        receiver.answers = [500]
        prediction_id = (await upload(client, webhook_url=url, wait=True)).json()["id"]
        await receiver.next()
        await settled(client, prediction_id)
        await execute("UPDATE predictions SET status = 'processing', lease_expires_at = now() + interval '1 hour'")
        await execute("UPDATE deliveries SET next_attempt_at = now()")
        async with asyncio.timeout(20):
            while (found := await state(client, prediction_id))["status"] != "waiting":
                await asyncio.sleep(0.02)
        assert found["attempts"] == 1
        assert len(receiver.received) == 1
        await execute("UPDATE predictions SET status = 'succeeded'")
        _, body = await receiver.next()
        assert json.loads(body)["type"] == "prediction.succeeded"


async def test_last_attempt_is_not_repeated_after_its_process_died(client: httpx.AsyncClient) -> None:
    async with receiving() as (receiver, url):
        receiver.answers = [500]
        prediction_id = (await upload(client, webhook_url=url, wait=True)).json()["id"]
        await receiver.next()
        await settled(client, prediction_id)
        last = len(webhook_deliveries.SCHEDULE) + 1
        await execute("UPDATE deliveries SET attempts = $1, next_attempt_at = now()", [last])
        async with asyncio.timeout(20):
            while (found := await state(client, prediction_id))["status"] != "failed":
                await asyncio.sleep(0.02)
        assert found["error"] == "The last attempt was never finished."
        assert found["next_attempt_at"] is None
        assert len(receiver.received) == 1


async def test_outcome_is_kept_while_the_database_is_away(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A receiver that has the webhook does not get it again."""
    record, failures = webhook_deliveries.record_outcome, 2

    async def unavailable_at_first(delivery: Delivery, outcome: webhook_deliveries.Outcome) -> timedelta | None:
        nonlocal failures
        if failures:
            failures -= 1
            raise DatabaseUnavailable
        return await record(delivery, outcome)

    async with receiving() as (receiver, url):
        with patch.object(webhook_deliveries, "record_outcome", unavailable_at_first):
            await upload(client, webhook_url=url)
            await receiver.next()
            async with asyncio.timeout(20):
                while not (await execute("SELECT 1 FROM deliveries WHERE status = 'delivered'")):
                    await asyncio.sleep(0.05)
    assert len(receiver.received) == 1
    assert not [record for record in caplog.records if record.exc_info]


async def test_time_of_a_webhook_is_the_databases(client: httpx.AsyncClient) -> None:
    async with receiving() as (receiver, url):
        with patch("app.db.crud.webhook_deliveries.database_time", return_value=1_700_000_000):
            await upload(client, webhook_url=url)
            headers, _ = await receiver.next()
    assert headers["webhook-timestamp"] == "1700000000"
