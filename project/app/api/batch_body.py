"""The images of a batch while they arrive: files of a form, or of a ZIP file."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.deps import AppState
from app.api.middleware.body_limit import BodyTooLarge
from app.api.multipart import INTERRUPTED_UPLOAD, StreamedPart, form_parts, is_form
from app.api.upload_body import RECEIVE_SECONDS, check_webhook_url, image_model
from app.domain import ArchiveRefused, ServiceError, UploadTooLarge
from app.uploads.intake import UploadOptions
from app.uploads.zip_stream import SIGNATURES, ArchiveLimits, BoundedBuffer, Entry

ZIP_TYPES: Final = (b"application/zip", b"application/x-zip-compressed")
MAX_FIELD_BYTES: Final = 4_096
MIN_BYTES_PER_SECOND: Final = 64 * 1024
"""A batch must arrive at this rate after its first minute; slower clients would occupy memory that others need."""
NO_IMAGES: Final = "Send images as files of a multipart form (curl -F file=@a.jpg -F file=@b.jpg) or as a ZIP file"

NamedFile = tuple[str | None, bytes | ServiceError]
"""A file's name and its bytes, or why they cannot be read."""


class BatchBody:
    """Yields the files of a request one by one; fields of the form apply to the files that follow them."""

    def __init__(self, request: Request, state: AppState) -> None:
        settings = state.settings
        self._dispatch = state.dispatch
        self._unpacker = state.unpacker
        self._webhooks_enabled = settings.webhook_secret is not None
        self._key_id = request.state.caller.key_id
        self._content_type = request.headers.get("content-type")
        self._chunks = MinimumRateStream(request.stream())
        self._max_bytes = settings.max_upload_bytes
        self._limits = ArchiveLimits(settings.max_batch_images, settings.max_batch_bytes)
        self._fields = {"model": "", "webhook_url": ""}
        self._options: UploadOptions | None = None

    async def set_field(self, name: str, value: str) -> None:
        """Set an option for the files that follow. Raises RequestValidationError."""
        if name in self._fields:
            self._fields[name] = value
            model = await image_model(self._dispatch, self._fields["model"])
            webhook_url = check_webhook_url(self._fields["webhook_url"], is_enabled=self._webhooks_enabled)
            self._options = UploadOptions(model, model.name, webhook_url, self._key_id)

    @property
    def options(self) -> UploadOptions:
        """The options of the file that was yielded last."""
        assert self._options is not None, "set_field comes first"
        return self._options

    async def __aiter__(self) -> AsyncIterator[NamedFile]:
        """Raises ArchiveRefused or HTTPException if the rest cannot be read."""
        async with aclosing(self._files()) as files:
            async for file in files:
                yield file

    async def _files(self) -> AsyncGenerator[NamedFile]:
        content_type, _ = parse_options_header(self._content_type)
        if content_type in ZIP_TYPES:
            async with aclosing(self._unpack(self._chunks)) as entries:
                async for entry in entries:
                    yield entry.name, self._check_size(entry.data)
            return
        if not is_form(self._content_type):
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, NO_IMAGES)
        async with aclosing(form_parts(self._content_type, self._chunks)) as parts:
            async for part in parts:
                if part.filename is None:
                    await self.set_field(part.name, await _text(part.data))
                    continue
                async with aclosing(self._files_of(part)) as files:
                    async for file in files:
                        yield file

    async def _files_of(self, part: StreamedPart) -> AsyncGenerator[NamedFile]:
        """The file in a part of the form, or the files of an archive in it."""
        start = b""
        async for chunk in part.data:
            start += chunk
            if len(start) >= len(SIGNATURES[0]):
                break
        chunks = _chain(start, part.data)
        if start.startswith(SIGNATURES):
            try:
                async with aclosing(self._unpack(chunks)) as entries:
                    async for entry in entries:
                        yield entry.name, self._check_size(entry.data)
            except ArchiveRefused as error:
                # The parts that follow can still be read.
                yield part.filename, error
        elif start or part.filename:
            yield part.filename, self._check_size(await _join(chunks, self._max_bytes))

    def _check_size(self, data: bytes | None) -> bytes | ServiceError:
        return UploadTooLarge.above(self._max_bytes) if data is None else data

    def _unpack(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Entry]:
        return self._unpacker.unpack(chunks, self._max_bytes, self._limits)


class MinimumRateStream:
    """The chunks of a request whose client sends fast enough; time during which nothing is read does not count."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._seconds = RECEIVE_SECONDS

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                chunk = await anext(self._stream)
        except TimeoutError:
            rate = MIN_BYTES_PER_SECOND // 1024
            message = f"The batch arrives too slowly: send at least {rate} KiB per second."
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, message) from None
        except ClientDisconnect:
            raise HTTPException(HTTPStatus.BAD_REQUEST, INTERRUPTED_UPLOAD) from None
        except BodyTooLarge as error:
            # A BaseException, which threads and task groups do not pass on unchanged.
            raise UploadTooLarge(str(error)) from None
        self._seconds += len(chunk) / MIN_BYTES_PER_SECOND - (time.monotonic() - started_at)
        return chunk


async def _chain(start: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for chunk in chunks:
        yield chunk


async def _join(chunks: AsyncIterator[bytes], max_bytes: int) -> bytes | None:
    buffer = BoundedBuffer(max_bytes)
    async for chunk in chunks:
        buffer.add(chunk)
    return buffer.data


async def _text(chunks: AsyncIterator[bytes]) -> str:
    data = b""
    async for chunk in chunks:
        data = (data + chunk)[:MAX_FIELD_BYTES]
    return data.decode(errors="replace")
