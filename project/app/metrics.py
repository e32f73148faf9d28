"""What Prometheus is told (``/metrics``): names and labels are a contract, ``docs/operations.md`` lists them.

Each process counts what it does itself: counters and histograms of several processes are summed. Gauges of the database
(queue, workers) are the same whichever process is asked: of those, one is taken.
"""

import math
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
REGISTRY: Final = CollectorRegistry(auto_describe=True)
SHARED: Final = CollectorRegistry(auto_describe=True)
"""What the database tells; workers, who are not asked for it, do not have it."""
# Nobody asks when counting began, and it would be twice the lines.
disable_created_metrics()  # type: ignore[no-untyped-call]
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_PREFIX: Final = "image_classifier"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def _counter(name: str, told: str, *labels: str) -> Counter:
    return Counter(name, told, labels, namespace=_PREFIX, registry=REGISTRY)


def _gauge(name: str, told: str, *labels: str) -> Gauge:
    return Gauge(name, told, labels, namespace=_PREFIX, registry=SHARED)


def _histogram(name: str, told: str, *labels: str) -> Histogram:
    return Histogram(name, told, labels, namespace=_PREFIX, registry=REGISTRY, buckets=_SECONDS)


REQUESTS: Final = _counter("requests", "Requests answered.", "method", "route", "status")
REQUEST_SECONDS: Final = _histogram("request_duration_seconds", "From a request's head to its answer's end.", "route")
UPLOADS: Final = _counter("uploads", "Images accepted.", "model")
UPLOADED_BYTES: Final = _counter("uploaded_bytes", "Bytes of images accepted.")
PREDICTIONS: Final = _counter("predictions", "Predictions finished by this process.", "model", "status")
STAGE_SECONDS: Final = _histogram(
    "stage_duration_seconds",
    "Parts of a prediction: receive, inspect, store and create while it is uploaded, then queue, decode, infer, write.",
    "stage",
)
MODEL_LOADS: Final = _counter("model_loads", "Models loaded into memory.", "model")
CACHE_HITS: Final = _counter("cache_hits", "Answers given without asking a model.", "cache")
CACHE_MISSES: Final = _counter("cache_misses", "Answers that no cache had.", "cache")
CORRECTIONS: Final = _counter("corrections", "Labels that people corrected.", "model")
ENGINE_DEATHS: Final = _counter("engine_deaths", "Times that the process that decodes and classifies died.")
WEBHOOKS: Final = _counter("webhook_attempts", "Webhooks sent, or tried to.", "outcome")

DATABASE_UP: Final = _gauge("database_up", "Whether the database answers: 1 or 0.")
QUEUE_DEPTH: Final = _gauge("queue_depth", "Predictions that are not finished.", "status")
QUEUE_AGE: Final = _gauge("queue_age_seconds", "How long the oldest unfinished prediction has been waiting.")
WORKERS: Final = _gauge("workers_alive", "Workers that announced themselves in the last 15 s.")
HEARTBEAT_AGE: Final = _gauge("worker_heartbeat_age_seconds", "How long ago a worker announced itself.", "worker")


def exposition() -> bytes:
    """All of it, in Prometheus' text format."""
    return generate_latest(REGISTRY) + generate_latest(SHARED)


def forget_shared() -> None:
    """Say nothing of queue and workers where the database does not."""
    DATABASE_UP.set(0)
    for gauge in (QUEUE_DEPTH, HEARTBEAT_AGE):
        gauge.clear()
    for gauge in (QUEUE_AGE, WORKERS):
        gauge.set(math.nan)
