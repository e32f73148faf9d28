"""Prometheus metrics (``/metrics``). Names and labels are a contract; ``docs/operations.md`` lists them.

Each process counts its own work, so sum counters and histograms over processes. The gauges read from the database
(queue, workers) are the same in every process: use any one of them.
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
"""Gauges read from the database. Workers do not expose them."""
# Creation times are of no use here and would double the output.
disable_created_metrics()  # type: ignore[no-untyped-call]
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_PREFIX: Final = "image_classifier"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, labels, namespace=_PREFIX, registry=REGISTRY)


def _gauge(name: str, documentation: str, *labels: str) -> Gauge:
    return Gauge(name, documentation, labels, namespace=_PREFIX, registry=SHARED)


def _histogram(name: str, documentation: str, *labels: str) -> Histogram:
    return Histogram(name, documentation, labels, namespace=_PREFIX, registry=REGISTRY, buckets=_SECONDS)


REQUESTS: Final = _counter("requests", "Requests completed.", "method", "route", "status")
REQUEST_SECONDS: Final = _histogram(
    "request_duration_seconds", "Time from the request's headers to the end of the response.", "route"
)
KEYS_REFUSED: Final = _counter("keys_refused", "Requests and sign-ins with an unknown, expired or revoked API key.")
UPLOADS: Final = _counter("uploads", "Accepted images.", "model")
UPLOADED_BYTES: Final = _counter("uploaded_bytes", "Bytes of accepted images.")
PREDICTIONS: Final = _counter("predictions", "Predictions that this process finished.", "model", "status")
STAGE_SECONDS: Final = _histogram(
    "stage_duration_seconds",
    "Stages of a prediction: receive, inspect, store and create during the upload; then queue, decode, infer, write.",
    "stage",
)
MODEL_LOADS: Final = _counter("model_loads", "Model loads.", "model")
CACHE_HITS: Final = _counter("cache_hits", "Results served from a cache.", "cache")
CACHE_MISSES: Final = _counter("cache_misses", "Results not found in a cache.", "cache")
CORRECTIONS: Final = _counter("corrections", "Labels corrected by people.", "model")
REVIEWS: Final = _counter("reviews", "Predictions confirmed or corrected by people.", "model", "verdict")
ENGINE_DEATHS: Final = _counter("engine_deaths", "Deaths of processes that read images.")
WEBHOOKS: Final = _counter("webhook_attempts", "Webhook attempts.", "outcome")

DATABASE_UP: Final = _gauge("database_up", "Whether the database is reachable: 1 or 0.")
QUEUE_DEPTH: Final = _gauge("queue_depth", "Unfinished predictions.", "status")
QUEUE_AGE: Final = _gauge("queue_age_seconds", "Age of the oldest unfinished prediction.")
WORKERS: Final = _gauge("workers_alive", "Workers with a heartbeat in the last 15 s.")
HEARTBEAT_AGE: Final = _gauge("worker_heartbeat_age_seconds", "Time since a worker's last heartbeat.", "worker")


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY) + generate_latest(SHARED)


def clear_shared() -> None:
    """Clear queue and worker gauges while the database is unreachable."""
    DATABASE_UP.set(0)
    for gauge in (QUEUE_DEPTH, HEARTBEAT_AGE):
        gauge.clear()
    for gauge in (QUEUE_AGE, WORKERS):
        gauge.set(math.nan)
