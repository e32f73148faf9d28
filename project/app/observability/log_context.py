"""Fields that all log lines of a request or job carry, such as its ID."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=_NONE)


@contextmanager
def log_fields(**fields: str) -> Iterator[None]:
    """Add fields to the log lines that are written while inside, including those of tasks started there."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def current_log_fields() -> dict[str, str]:
    """The fields of log lines written now."""
    return dict(_fields.get())
