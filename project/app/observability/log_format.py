"""Formats log lines: text for people or JSON for programs (``LOG_FORMAT``)."""

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from app.observability.log_context import current_log_fields
from app.observability.log_events import Event

if TYPE_CHECKING:
    # Imported for types alone: processes that read images start sooner without them.
    from structlog.types import EventDict, Processor, WrappedLogger

    from app.config import Settings

TIME: Final = "%Y-%m-%d %H:%M:%S"
STANDARD: Final = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime"))
"""Attributes of every record; all others are extra fields."""
AMBIGUOUS: Final = frozenset(" \t=\r\n\"'")
"""Characters that make an unquoted value ambiguous."""


def log_config(settings: "Settings") -> dict[str, Any]:
    """Configuration for ``logging.config.dictConfig``: one line per event on standard error."""
    style = (
        settings.log_format if settings.log_format != "auto" else "text" if settings.environment == "dev" else "json"
    )
    quiet = "ERROR" if settings.log_level == "ERROR" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "app.observability.log_format.make_formatter", "style": style}},
        "filters": {
            "clients": {"()": "app.observability.client_address.ClientFilter", "addresses": settings.log_addresses}
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["clients"]}},
        "root": {"level": settings.log_level, "handlers": ["stderr"]},
        # These log every query, connection and step at INFO.
        "loggers": {
            **{
                name: {"level": quiet}
                for name in ("PIL", "absl", "asyncio", "httpx", "tensorflow", "tf2onnx", "tortoise", "uvicorn")
            },
            "uvicorn.access": {"level": settings.log_level},
            # The service logs database outages itself, in one line, and waits them out.
            **{name: {"level": "CRITICAL"} for name in ("asyncpg", "pgqueuer")},
            # One line for each batch that cannot be sent, instead of four.
            "opentelemetry": {"level": "ERROR"},
        },
    }


def make_formatter(style: str) -> logging.Formatter:
    """The formatter for ``logging.config.dictConfig``. ``style``: "json" or "text"."""
    if style == "text" and not sys.stderr.isatty():
        return PlainText()
    import structlog

    extra: list[Processor] = [
        _add_fields,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
    ]
    if style == "json":
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*extra, structlog.processors.TimeStamper(fmt="iso", utc=True), _add_event],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
            ],
            pass_foreign_args=True,
        )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*extra, structlog.processors.TimeStamper(fmt=TIME, utc=False)],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(
                colors=True, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
    )


class PlainText(logging.Formatter):
    """Writes what structlog's ConsoleRenderer writes without colours, in a third of the time.

    Each upload logs two lines: with structlog they took 2 % of the service's CPU at full load.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by the traceback if there is one."""
        extra: dict[str, Any] = {**current_log_fields()}
        extra.update((name, value) for name, value in vars(record).items() if name not in STANDARD)
        parts = [
            f"{time.strftime(TIME, time.localtime(record.created))} [{record.levelname.lower():<9}]",
            f"{record.getMessage()} [{record.name}]",
            *(f"{name}={_format(extra[name])}" for name in sorted(extra)),
        ]
        line = " ".join(parts)
        if record.exc_info and record.exc_info[0]:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return f"{line}\n{self.formatStack(record.stack_info)}" if record.stack_info else line


def _format(value: object) -> str:
    return value if isinstance(value, str) and not AMBIGUOUS.intersection(value) else repr(value)


def _add_fields(_logger: "WrappedLogger", _method: str, line: "EventDict") -> "EventDict":
    return {**current_log_fields(), **line}


def _add_event(_logger: "WrappedLogger", _method: str, line: "EventDict") -> "EventDict":
    """Adds the event's name, its sentence as ``message``, and its arguments as named fields."""
    record: logging.LogRecord = line["_record"]
    arguments: Any = line.pop("positional_args", ())
    message = line["event"]
    if not isinstance(record.msg, Event):
        # Other libraries' records have no event name.
        return {**line, "event": "message", "message": message}
    return {
        **dict(zip(record.msg.fields, arguments, strict=False)),
        **line,
        "event": record.msg.name,
        "message": message,
    }
