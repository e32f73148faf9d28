"""The text format of the log equals structlog's."""

import logging
import sys

import pytest
import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars

from app.observability.log_context import log_fields
from app.observability.log_format import TIME, PlainText


def structlogs() -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt=TIME, utc=False),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(
                colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
    )


def record(level: int = logging.INFO, *, failed: bool = False, **beside: object) -> logging.LogRecord:
    error = None
    if failed:
        try:
            raise ValueError("no")
        except ValueError:
            error = sys.exc_info()
    log = logging.getLogger("app.some")
    return log.makeRecord("app.some", level, __file__, 1, "%s took %.1f ms", ("It", 1.25), error, extra=beside)


@pytest.mark.parametrize(
    "line",
    [
        record(),
        record(logging.WARNING, zebra=1, ant=None, bee=1.5),
        record(logging.CRITICAL, simple="a/b:c", spaced="a b", equal="a=b", quoted="it's", empty="", many=["a", "b"]),
        record(logging.ERROR, failed=True, name_of="x"),
    ],
)
def test_text_format_equals_structlogs(line: logging.LogRecord) -> None:
    with bound_contextvars(request_id="6b1f"), log_fields(request_id="6b1f"):
        written, expected = PlainText().format(line), structlogs().format(line)
    # The time it was written, and the time it was told of, may be two seconds.
    assert written[len("2026-11-26 05:59:59") :] == expected[len("2026-11-26 05:59:59") :]
    assert "request_id=6b1f" in written
