"""How long the parts of a prediction take: for Prometheus, and for whoever asked (``Server-Timing``)."""

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
    """Seconds of the stages that are gone through while inside, by the tasks that are begun there too."""
    stages: dict[str, float] = {}
    token = _stages.set(stages)
    try:
        yield stages
    finally:
        _stages.reset(token)


def carried() -> dict[str, str]:
    """What the job of a request takes along, so that it can be told whose it is: the request's id, and its trace."""
    found = tracing.carried()
    if request_id := get_contextvars().get("request_id"):
        found["request_id"] = request_id
    return found


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """What is done inside is this stage."""
    began = time.perf_counter()
    try:
        with tracing.span(name):
            yield
    finally:
        _note(name, time.perf_counter() - began)


def took(name: Stage, seconds: float) -> None:
    """A stage took so long, somewhere else."""
    tracing.past(name, seconds)
    _note(name, seconds)


def _note(name: Stage, seconds: float) -> None:
    _OBSERVED[name].observe(seconds)
    stages = _stages.get()
    if stages is not None:
        stages[name] = stages.get(name, 0.0) + seconds
