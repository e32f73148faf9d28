"""Traces of requests and predictions, through the queue to whoever classifies (``TRACES_URL``; OpenTelemetry).

Nothing of it is imported, and everything here does nothing, where traces are not asked for.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from app.domain import StartupError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

SERVICE: Final = "image-classifier"
SERVER_ERROR: Final = 500
SEND_SECONDS: Final = 2
"""How long sending may take, and a stop may be held up by it."""
_NOTHING: Final = nullcontext()

_tracer: "Tracer | None" = None


@asynccontextmanager
async def sending(url: str | None) -> AsyncIterator[None]:
    """Traces are sent to an OTLP endpoint while inside, where there is one; what is left is sent on leaving.

    Raises StartupError where OpenTelemetry is not installed.
    """
    global _tracer  # noqa: PLW0603 - one for the process, as OpenTelemetry's own is
    if url is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise StartupError("TRACES_URL needs OpenTelemetry: run `make telemetry`, or unset it.") from error
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE, "service.instance.id": _instance()}))
    endpoint = url if url.rstrip("/").endswith("/v1/traces") else f"{url.rstrip('/')}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=SEND_SECONDS)))
    _tracer = provider.get_tracer(SERVICE)
    try:
        yield
    finally:
        _tracer = None
        # It sends what is left, again and again; a stop is not held up by nobody taking it.
        ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, SEND_SECONDS)


def _instance() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """What is done inside, within what is being done."""
    return _tracer.start_as_current_span(name, attributes=attributes) if _tracer else _NOTHING


def past(name: str, seconds: float) -> None:
    """Something took so long, in another process, until now."""
    if _tracer:
        now = time.time_ns()
        _tracer.start_span(name, start_time=now - int(seconds * 1e9)).end(now)


@contextmanager
def request(headers: Mapping[str, str], method: str) -> Iterator["RequestSpan"]:
    """A request that is answered inside, part of its client's trace where that has one (W3C Trace Context)."""
    if _tracer is None:
        yield RequestSpan(None)
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        method, context=_extracted(headers), kind=SpanKind.SERVER, attributes={"http.request.method": method}
    ) as begun:
        yield RequestSpan(begun)


class RequestSpan:
    """What is learnt about a request while it is answered."""

    def __init__(self, span: "Span | None") -> None:
        self._span = span

    def answered(self, method: str, route: str, status: int) -> None:
        """It was."""
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        self._span.update_name(f"{method} {route}")
        self._span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= SERVER_ERROR:
            self._span.set_status(StatusCode.ERROR)


def carried() -> dict[str, str]:
    """What a job takes along of the trace that it belongs to."""
    if _tracer is None:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier


@contextmanager
def job(name: str, headers: Mapping[str, str], **attributes: str | int) -> Iterator[None]:
    """A job that is done inside, part of the trace in which it was given."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name, context=_extracted(headers), kind=SpanKind.CONSUMER, attributes=attributes
    ):
        yield


def _extracted(headers: Mapping[str, str]) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(headers)
