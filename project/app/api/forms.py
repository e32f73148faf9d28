"""The form of an upload (RFC 7578), read straight into memory.

FastAPI's way writes each file into a temporary one, reads that, and costs as much as everything else about a request.
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

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_PARTS: Final = 100
BROKE_OFF: Final = "The upload broke off."


@dataclass(slots=True)
class Part:
    """One part of a form: a file where it has a file name, a field otherwise."""

    name: str
    filename: str | None
    chunks: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """All of it; what it was put together from is let go."""
        if len(self.chunks) != 1:
            self.chunks[:] = [b"".join(self.chunks)]
        return self.chunks[0]


@dataclass(frozen=True, slots=True)
class StreamedPart:
    """One part of a form that is still arriving."""

    name: str
    filename: str | None
    data: AsyncIterator[bytes]


async def read_form(request: Request) -> dict[str, Part]:
    """The parts of a multipart body by name, of those with the same name the last; none where it is no such body.

    Raises HTTPException with 400 where the body is malformed, or breaks off.
    """
    content_type = request.headers.get("content-type")
    if not is_form(content_type):
        return {}
    reader = _FormReader()
    with _refused():
        parser = _parser(content_type, reader)
        async for chunk in request.stream():
            parser.write(chunk)
    return reader.parts


async def form_parts(content_type: str | None, chunks: AsyncIterator[bytes]) -> AsyncGenerator[StreamedPart]:
    """The parts of a multipart body as they arrive; each has to be read before the next is there.

    Raises HTTPException as ``read_form`` does.
    """
    reader = _StreamReader()
    with _refused():
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
    with _refused():
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
    raise HTTPException(HTTPStatus.BAD_REQUEST, BROKE_OFF)


def is_form(content_type: str | None) -> bool:
    """Whether a body is a multipart form."""
    return parse_options_header(content_type)[0] == b"multipart/form-data"


def _parser(content_type: str | None, reader: "_FormReader") -> MultipartParser:
    _, options = parse_options_header(content_type)
    if b"boundary" not in options:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "Missing boundary in multipart.")
    return MultipartParser(options[b"boundary"], reader.callbacks)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except MultipartParseError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "Invalid multipart data.") from error
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, BROKE_OFF) from error


class _FormReader:
    """Collects what the parser tells of."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self._header = [b"", b""]
        self._disposition = b""
        self._part: Part | None = None
        self._count = 0

    @property
    def callbacks(self) -> "MultipartCallbacks":
        """For the parser; kept here, the reader would hold itself, and its image until the garbage is collected."""
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
        if self._count > MOST_PARTS:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"The form has more than {MOST_PARTS} parts.")
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
            told = 'The Content-Disposition header field "name" must be provided.'
            raise HTTPException(HTTPStatus.BAD_REQUEST, told)
        filename = options.get(b"filename")
        self._part = Part(_text(options[b"name"]), None if filename is None else _text(filename))

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        self._part.chunks.append(data[start:end])

    def _end(self) -> None:
        assert self._part is not None
        self.parts[self._part.name] = self._part


class _StreamReader(_FormReader):
    """Collects what happens, for a form that is read as it arrives: a part begins, has data, and ends with None."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Part | bytes | None] = []

    def _begin(self) -> None:
        super()._begin()
        self._count = 0  # It is for whoever reads them to say how many are too many.

    def _begin_data(self) -> None:
        super()._begin_data()
        self.events.append(self._part)

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.events.append(data[start:end])

    def _end(self) -> None:
        self.events.append(None)


def _text(raw: bytes) -> str:
    """What browsers send is UTF-8; the parser has taken bytes for Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
