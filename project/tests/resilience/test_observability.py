"""Metrics and traces over several processes."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from tests.pictures import encoded, scene
from tests.resilience.conftest import NewCluster
from tests.servers import free_port

UPLOADS = 24


async def counted(urls: list[str], name: str) -> Counter[tuple[str, ...]]:
    """A metric by its labels' values, summed over processes."""
    found: Counter[tuple[str, ...]] = Counter()
    async with httpx.AsyncClient() as client:
        for url in urls:
            for family in text_string_to_metric_families((await client.get(f"{url}/metrics")).text):
                for one in family.samples:
                    if one.name == f"image_classifier_{name}":
                        found[tuple(sorted(one.labels.values()))] += int(one.value)
    return found


async def test_metrics_of_all_processes_add_up(new_cluster: NewCluster) -> None:
    ports = [free_port(), free_port()]
    cluster = await new_cluster(ENVIRONMENT="prod", REUSE_ANSWERS="0").start(workers=0)
    cluster.add_web()
    workers = [f"http://127.0.0.1:{port}" for port in ports]
    for port in ports:
        cluster.add_worker(METRICS_PORT=str(port))
    await cluster.ready()
    async with httpx.AsyncClient(timeout=30) as client:
        for number in range(UPLOADS):
            image = encoded(scene(50 + number, 40), "PNG")
            url = cluster.web_urls[number % 2]
            answer = await client.post(
                f"{url}/predictions/", files={"file": image}, headers={"X-Request-ID": f"id-{number}"}
            )
            cluster.accepted.append(answer.json()["id"])
    await cluster.finished()
    model = cluster.environment["MODEL"]
    everywhere = [*cluster.web_urls, *workers]
    assert await counted(everywhere, "uploads_total") == {(model,): UPLOADS}
    assert await counted(everywhere, "predictions_total") == {(model, "succeeded"): UPLOADS}
    assert (await counted(everywhere, "stage_duration_seconds_count"))["infer",] == UPLOADS
    for url in cluster.web_urls:
        # Each sees the same, and half of the uploads.
        assert (await counted([url], "uploads_total"))[model,] == UPLOADS // 2
        assert await counted([url], "workers_alive") == {(): 2}
        assert len(await counted([url], "worker_heartbeat_age_seconds")) == 2
    message = [
        json.loads(line) for worker in cluster.workers for line in worker.log.read_text().splitlines() if "{" in line
    ]
    predictions = [line for line in message if line["event"] == "prediction"]
    assert {line["prediction_id"] for line in predictions} == set(cluster.accepted)
    # Whoever asked is known to whoever answers.
    assert {line["request_id"] for line in predictions} == {f"id-{number}" for number in range(UPLOADS)}
    assert all(line["queue_ms"] >= 0 and line["infer_ms"] > 0 for line in predictions)


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Span]]]:
    """An OTLP endpoint and the spans that it received."""
    spans: list[Span] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().lower().split("\r\n")
            (length,) = [int(line.split(":")[1]) for line in lines if line.startswith("content-length:")]
            sent = ExportTraceServiceRequest.FromString(await reader.readexactly(length))
            spans.extend(span for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def take_until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await take(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(take_until_gone, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", spans


async def test_trace_covers_upload_queue_and_worker(new_cluster: NewCluster) -> None:
    async with collector() as (url, spans):
        cluster = await new_cluster(TRACES_URL=url).start()
        await cluster.ready()
        clients = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        async with httpx.AsyncClient(timeout=30) as client:
            sent = {"file": encoded(scene(), "PNG")}
            await client.post(f"{cluster.web_url}/predictions/", files=sent, headers={"traceparent": clients})
        await cluster.finished()
        # What is left is sent when they stop.
        stopped = [asyncio.to_thread(process.stop) for process in [*cluster.workers, *cluster.webs]]
        assert await asyncio.gather(*stopped) == [0, 0]
    ours = {span.name: span for span in spans if span.trace_id.hex() == clients.split("-")[1]}
    assert {
        "POST /predictions/",
        "receive",
        "inspect",
        "store",
        "create",
        "classify",
        "decode",
        "infer",
        "write",
    } <= set(ours)
    upload, job = ours["POST /predictions/"], ours["classify"]
    assert upload.parent_span_id.hex() == clients.split("-")[2]
    assert job.parent_span_id == upload.span_id
    assert ours["decode"].parent_span_id == ours["infer"].parent_span_id == job.span_id
    assert job.start_time_unix_nano > upload.start_time_unix_nano
    status = {attribute.key: attribute.value.int_value for attribute in upload.attributes}
    assert status["http.response.status_code"] == 201
