"""Reads multipart forms (RFC 7578) directly into memory.

FastAPI's parser writes each file to a temporary file, reads it back, and takes as long as the rest of the request.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.api.file_names import file_name, text_of

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS: Final = 100
INTERRUPTED_UPLOAD: Final = "The upload was interrupted."


@dataclass(slots=True)
class Part:
    """A part of a form: a file if it has a file name, a field otherwise."""

    name: str
    filename: str | None
    chunks: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """The part's bytes; frees the chunks they were joined from."""
        if len(self.chunks) != 1:
            self.chunks[:] = [b"".join(self.chunks)]
        return self.chunks[0]


@dataclass(frozen=True, slots=True)
class StreamedPart:
    """A part of a form that is still arriving."""

    name: str
    filename: str | None
    data: AsyncIterator[bytes]


async def read_form(request: Request) -> dict[str, Part]:
    """Parts of a multipart body by name, the last one of each name; empty for other bodies.

    Raises HTTPException (400) if the body is malformed or interrupted.
    """
    content_type = request.headers.get("content-type")
    if not is_form(content_type):
        return {}
    reader = _FormReader()
    with _bad_request_errors():
        parser = _parser(content_type, reader)
        async for chunk in request.stream():
            parser.write(chunk)
    return reader.parts


async def form_parts(content_type: str | None, chunks: AsyncIterator[bytes]) -> AsyncGenerator[StreamedPart]:
    """Parts of a multipart body while they arrive; each must be read before the next one.

    Raises HTTPException like ``read_form``.
    """
    reader = _StreamReader()
    with _bad_request_errors():
        parser = _parser(content_type, reader)
    events = _events(parser, reader, chunks)
    async for event in events:
        if isinstance(event, Part):
            data = _data_of(events)
            yield StreamedPart(event.name, event.filename, data)
            async for _ in data:
                pass


async def _events(
    parser: MultipartParser, reader: "_StreamReader", chunks: AsyncIterator[bytes]
) -> AsyncGenerator["Part | bytes | None"]:
    with _bad_request_errors():
        async for chunk in chunks:
            parser.write(chunk)
            events, reader.events = reader.events, []
            for event in events:
                yield event


async def _data_of(events: AsyncIterator["Part | bytes | None"]) -> AsyncGenerator[bytes]:
    async for event in events:
        if not isinstance(event, bytes):
            return
        yield event
    raise HTTPException(HTTPStatus.BAD_REQUEST, INTERRUPTED_UPLOAD)


def is_form(content_type: str | None) -> bool:
    """Whether a body is a multipart form."""
    return parse_options_header(content_type)[0] == b"multipart/form-data"


def _parser(content_type: str | None, reader: "_FormReader") -> MultipartParser:
    _, options = parse_options_header(content_type)
    if b"boundary" not in options:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "Missing boundary in multipart.")
    return MultipartParser(options[b"boundary"], reader.callbacks)


@contextmanager
def _bad_request_errors() -> Iterator[None]:
    try:
        yield
    except MultipartParseError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "Invalid multipart data.") from error
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, INTERRUPTED_UPLOAD) from error


class _FormReader:
    """Collects the parser's callbacks into parts."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self._header = [b"", b""]
        self._disposition = b""
        self._part: Part | None = None
        self._count = 0

    @property
    def callbacks(self) -> "MultipartCallbacks":
        """Created on demand: stored, they would form a reference cycle that keeps the image in memory."""
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_data,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }
        return callbacks

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"The form has more than {MAX_PARTS} parts.")
        self._header, self._disposition = [b"", b""], b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = [b"", b""]

    def _begin_data(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            message = 'The Content-Disposition header field "name" must be provided.'
            raise HTTPException(HTTPStatus.BAD_REQUEST, message)
        filename = file_name(self._disposition, options.get(b"filename"))
        self._part = Part(text_of(options[b"name"]), filename)

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        self._part.chunks.append(data[start:end])

    def _end(self) -> None:
        assert self._part is not None
        self.parts[self._part.name] = self._part


class _StreamReader(_FormReader):
    """Collects events for streaming: a part begins, has data, and ends with None."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Part | bytes | None] = []

    def _begin(self) -> None:
        super()._begin()
        self._count = 0  # the reader limits their number

    def _begin_data(self) -> None:
        super()._begin_data()
        self.events.append(self._part)

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.events.append(data[start:end])

    def _end(self) -> None:
        self.events.append(None)
