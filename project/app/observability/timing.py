"""Durations of a prediction's stages, for Prometheus and the ``Server-Timing`` header."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal

from structlog.contextvars import get_contextvars

from app import tracing
from app.metrics import STAGE_SECONDS

Stage = Literal["receive", "inspect", "store", "create", "queue", "decode", "infer", "write"]

_OBSERVED: Final = {stage: STAGE_SECONDS.labels(stage) for stage in Stage.__args__}  # type: ignore[attr-defined]
_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


@contextmanager
def collected() -> Iterator[dict[str, float]]:
    """Collects the durations of stages, in seconds, that run while inside, including those of tasks started there."""
    stages: dict[str, float] = {}
    token = _stages.set(stages)
    try:
        yield stages
    finally:
        _stages.reset(token)


def carried() -> dict[str, str]:
    """Headers that a job carries: the request's ID and its trace."""
    found = tracing.carried()
    if request_id := get_contextvars().get("request_id"):
        found["request_id"] = request_id
    return found


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Measures the block as this stage."""
    began = time.perf_counter()
    try:
        with tracing.span(name):
            yield
    finally:
        _note(name, time.perf_counter() - began)


def took(name: Stage, seconds: float) -> None:
    """Record a stage that was measured elsewhere."""
    tracing.past(name, seconds)
    _note(name, seconds)


def _note(name: Stage, seconds: float) -> None:
    _OBSERVED[name].observe(seconds)
    stages = _stages.get()
    if stages is not None:
        stages[name] = stages.get(name, 0.0) + seconds
