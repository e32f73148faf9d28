"""OpenTelemetry traces of requests and predictions, across the queue to the worker (``TRACES_URL``).

Without ``TRACES_URL`` nothing is imported and every function here does nothing.
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
"""Time limit for sending a batch; a shutdown waits no longer."""
_NO_SPAN: Final = nullcontext()

_tracer: "Tracer | None" = None


@asynccontextmanager
async def sending(url: str | None) -> AsyncIterator[None]:
    """Send traces to an OTLP endpoint while inside, if there is one; the rest is sent on exit.

    Raises StartupError if OpenTelemetry is not installed.
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
        # Shutdown retries sending; an unreachable endpoint must not delay the service's own shutdown.
        shutdown = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        shutdown.start()
        await asyncio.to_thread(shutdown.join, SEND_SECONDS)


def _instance() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """A span for the block, within the current one."""
    return _tracer.start_as_current_span(name, attributes=attributes) if _tracer else _NO_SPAN


def record_past_span(name: str, seconds: float) -> None:
    """Record a span that ended now and took ``seconds``, in another process."""
    if _tracer:
        now = time.time_ns()
        _tracer.start_span(name, start_time=now - int(seconds * 1e9)).end(now)


@contextmanager
def request(headers: Mapping[str, str], method: str) -> Iterator["RequestSpan"]:
    """The span of a request, part of the client's trace if it sent one (W3C Trace Context).

    It ends with ``RequestSpan.record_response``.
    """
    if _tracer is None:
        yield RequestSpan(None)
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        method,
        context=_parent_context(headers),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method},
        end_on_exit=False,
    ) as current:
        yield RequestSpan(current)


class RequestSpan:
    """Attributes that become known while a request is handled, and the end."""

    def __init__(self, span: "Span | None") -> None:
        self._span = span

    def record_response(self, method: str, route: str, status: int) -> None:
        """Record the route and the status of the response."""
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        self._span.update_name(f"{method} {route}")
        self._span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= SERVER_ERROR:
            self._span.set_status(StatusCode.ERROR)
        # Ends with the response: what runs in the background afterwards is not part of it.
        self._span.end()


def trace_headers() -> dict[str, str]:
    """Headers that carry the current trace in a job."""
    if _tracer is None:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier


@contextmanager
def job(name: str, headers: Mapping[str, str], **attributes: str | int) -> Iterator[None]:
    """The span of a job, part of the trace that created the job."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name, context=_parent_context(headers), kind=SpanKind.CONSUMER, attributes=attributes
    ):
        yield


def _parent_context(headers: Mapping[str, str]) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(headers)
