"""How a line of the log is written: for people, or as JSON for programs (``LOG_FORMAT``)."""

import logging
import sys
from typing import Any

import structlog
from structlog.contextvars import merge_contextvars
from structlog.types import EventDict, Processor, WrappedLogger

from app.log_events import Event


def make_formatter(style: str) -> logging.Formatter:
    """What ``logging.config.dictConfig`` is to write lines with. ``style``: "json" or "text"."""
    beside: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
    ]
    if style == "json":
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*beside, structlog.processors.TimeStamper(fmt="iso", utc=True), _named],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
            ],
            pass_foreign_args=True,
        )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*beside, structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False)],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
    )


def _named(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """The event's name, its sentence as ``message``, and what the sentence is about, each under its name."""
    record: logging.LogRecord = line["_record"]
    arguments: Any = line.pop("positional_args", ())
    told = line["event"]
    if not isinstance(record.msg, Event):
        # Another library's: what it says is all that is known.
        return {**line, "event": "message", "message": told}
    return {**dict(zip(record.msg.fields, arguments, strict=False)), **line, "event": record.msg.name, "message": told}
