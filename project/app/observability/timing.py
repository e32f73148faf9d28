"""Durations of a prediction's stages, for Prometheus and the ``Server-Timing`` header."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal

from app.observability import tracing
from app.observability.log_context import current_log_fields
from app.observability.metrics import STAGE_SECONDS

Stage = Literal["receive", "inspect", "store", "create", "queue", "decode", "infer", "write"]

_OBSERVED: Final = {stage: STAGE_SECONDS.labels(stage) for stage in Stage.__args__}  # type: ignore[attr-defined]
_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


@contextmanager
def collect_stages() -> Iterator[dict[str, float]]:
    """Collects the durations of stages, in seconds, that run while inside, including those of tasks started there."""
    stages: dict[str, float] = {}
    token = _stages.set(stages)
    try:
        yield stages
    finally:
        _stages.reset(token)


def trace_headers() -> dict[str, str]:
    """Headers that a job carries: the request's ID and its trace."""
    headers = tracing.trace_headers()
    if request_id := current_log_fields().get("request_id"):
        headers["request_id"] = request_id
    return headers


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Measures the block as this stage."""
    started_at = time.perf_counter()
    try:
        with tracing.span(name):
            yield
    finally:
        _record(name, time.perf_counter() - started_at)


def record_stage(name: Stage, seconds: float) -> None:
    """Record a stage that was measured elsewhere."""
    tracing.record_past_span(name, seconds)
    _record(name, seconds)


def _record(name: Stage, seconds: float) -> None:
    _OBSERVED[name].observe(seconds)
    stages = _stages.get()
    if stages is not None:
        stages[name] = stages.get(name, 0.0) + seconds
