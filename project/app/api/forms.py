"""The form of an upload (RFC 7578), read straight into memory.

FastAPI's way writes each file into a temporary one, reads that, and costs as much as everything else about a request.
"""

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


async def read_form(request: Request) -> dict[str, Part]:
    """The parts of a multipart body by name, of those with the same name the last; none where it is no such body.

    Raises HTTPException with 400 where the body is malformed, or breaks off.
    """
    content_type, options = parse_options_header(request.headers.get("content-type"))
    if content_type != b"multipart/form-data":
        return {}
    if b"boundary" not in options:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "Missing boundary in multipart.")
    reader = _FormReader()
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks)
        async for chunk in request.stream():
            parser.write(chunk)
    except MultipartParseError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "Invalid multipart data.") from error
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The upload broke off.") from error
    return reader.parts


class _FormReader:
    """Collects what the parser tells of."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self._header = [b"", b""]
        self._disposition = b""
        self._part: Part | None = None
        self._count = 0
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_data,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

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


def _text(raw: bytes) -> str:
    """What browsers send is UTF-8; the parser has taken bytes for Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
