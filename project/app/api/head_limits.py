"""Limits on everything of an HTTP request that is not its body: request line, headers, trailers, chunk framing."""

from http import HTTPStatus
from typing import Final

MAX_FIELDS: Final = 256
"""Headers and trailers of a request."""
MAX_URL_BYTES: Final = 8 * 1024
"""RFC 9110, 4.1 recommends to support at least 8,000."""
FRAMING_PER_BYTE: Final = 8
"""Bytes of chunk framing accepted for each byte of a chunked body: the smallest chunks need five."""
FIELD_OVERHEAD: Final = len(b": \r\n")


class HeadRefused(Exception):
    """A request's head is refused, for example because it exceeds a limit; the response and its status."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class HeadLimits:
    """Counts one request after another of a connection. Every method raises HeadRefused."""

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes``: of the request line, headers and trailers together, and of chunk framing."""
        self._max_bytes = max_bytes
        self.begin()

    def begin(self) -> None:
        """Another request begins."""
        self._url_bytes = self._field_bytes = self._fields = 0
        self._unparsed_bytes = self._framing_bytes = 0

    def count_url(self, size: int) -> None:
        """Count a piece of the URL."""
        self._url_bytes += size
        if self._url_bytes > MAX_URL_BYTES:
            raise HeadRefused(HTTPStatus.REQUEST_URI_TOO_LONG, f"The URL exceeds {MAX_URL_BYTES} bytes.")

    def count_field(self, name: bytes, value: bytes) -> None:
        """Count a header or trailer."""
        self._fields += 1
        self._field_bytes += len(name) + len(value) + FIELD_OVERHEAD
        if self._fields > MAX_FIELDS:
            raise _fields_too_large(f"The request has more than {MAX_FIELDS} headers.")
        if self._url_bytes + self._field_bytes > self._max_bytes:
            raise self._too_large()

    def count_unparsed(self, size: int) -> None:
        """Count bytes that belong to an incomplete head; the parser keeps an incomplete field to itself."""
        self._unparsed_bytes += size
        if self._unparsed_bytes > self._max_bytes:
            raise self._too_large()

    def count_body(self, received: int, delivered: int) -> None:
        """Count bytes received within a body, of which ``delivered`` were the body itself."""
        self._framing_bytes += received - delivered - FRAMING_PER_BYTE * delivered
        if self._framing_bytes > self._max_bytes:
            raise _fields_too_large(f"The chunk extensions or trailers exceed {self._max_bytes} bytes.")
        self._framing_bytes = max(self._framing_bytes, 0)

    def _too_large(self) -> HeadRefused:
        return _fields_too_large(f"The request line and headers exceed {self._max_bytes} bytes (MAX_HEAD_BYTES).")


def _fields_too_large(message: str) -> HeadRefused:
    return HeadRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)
