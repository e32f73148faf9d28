"""The images of a batch as they arrive: files of a form, or of a ZIP file."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app import archives
from app.api.accepting import Order, image_model, webhook_url
from app.api.body_limit import BodyTooLarge
from app.api.deps import Runtime
from app.api.forms import INTERRUPTED_UPLOAD, StreamedPart, form_parts, is_form
from app.api.reading import RECEIVE_SECONDS
from app.archives import Account, Entry, BoundedBuffer
from app.domain import ArchiveRefused, ServiceError, UploadTooLarge

ZIP_TYPES: Final = (b"application/zip", b"application/x-zip-compressed")
MAX_FIELD_BYTES: Final = 4_096
MIN_BYTES_PER_SECOND: Final = 64 * 1024
"""Bytes a second, beside a minute in all: who sends slower takes the place of others."""
NO_IMAGES: Final = "Send images as files of a multipart form (curl -F file=@a.jpg -F file=@b.jpg) or as a ZIP file"

Named = tuple[str | None, bytes | ServiceError]
"""A file's name and its bytes, or why they cannot be had."""


class BatchImages:
    """Gives the files of a request one after the other, and what is asked of those that follow a field of the form."""

    def __init__(self, request: Request, runtime: Runtime) -> None:
        self._runtime = runtime
        self._key_id = request.state.caller.key_id
        self._content_type = request.headers.get("content-type")
        self._chunks = MinimumRateStream(request.stream())
        self._limit = runtime.settings.max_upload_bytes
        settings = runtime.settings
        self._account = Account(settings.max_batch_images, settings.max_batch_bytes)
        self._fields = {"model": "", "webhook_url": ""}
        self._order: Order | None = None

    async def set_field(self, name: str, value: str) -> None:
        """Set what is asked of the files that follow. Raises RequestValidationError."""
        if name in self._fields:
            self._fields[name] = value
            model = await image_model(self._runtime, self._fields["model"])
            hook = webhook_url(self._fields["webhook_url"], self._runtime)
            self._order = Order(model, hook, time.monotonic(), self._key_id)

    def order(self) -> Order:
        """What is asked of the file that was given last, which has come now."""
        assert self._order is not None, "set_field comes first"
        return replace(self._order, came=time.monotonic())

    async def __aiter__(self) -> AsyncIterator[Named]:
        """Raises ArchiveRefused or HTTPException where the rest cannot be read."""
        async with aclosing(self._files()) as files:
            async for named in files:
                yield named

    async def _files(self) -> AsyncGenerator[Named]:
        kind, _ = parse_options_header(self._content_type)
        if kind in ZIP_TYPES:
            async with aclosing(self._unpacked(self._chunks)) as entries:
                async for entry in entries:
                    yield entry.name, self._fitting(entry.data)
            return
        if not is_form(self._content_type):
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, NO_IMAGES)
        async with aclosing(form_parts(self._content_type, self._chunks)) as parts:
            async for part in parts:
                if part.filename is None:
                    await self.set_field(part.name, await _text(part.data))
                    continue
                async with aclosing(self._files_of(part)) as files:
                    async for named in files:
                        yield named

    async def _files_of(self, part: StreamedPart) -> AsyncGenerator[Named]:
        """The file that a part of the form is, or those that are packed in it."""
        start = b""
        async for chunk in part.data:
            start += chunk
            if len(start) >= len(archives.SIGNATURES[0]):
                break
        chunks = _chained(start, part.data)
        if start.startswith(archives.SIGNATURES):
            try:
                async with aclosing(self._unpacked(chunks)) as entries:
                    async for entry in entries:
                        yield entry.name, self._fitting(entry.data)
            except ArchiveRefused as error:
                # The parts after it can be read all the same.
                yield part.filename, error
        elif start or part.filename:
            yield part.filename, self._fitting(await _joined(chunks, self._limit))

    def _fitting(self, data: bytes | None) -> bytes | ServiceError:
        return UploadTooLarge(f"The upload is larger than {self._limit} bytes.") if data is None else data

    def _unpacked(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Entry]:
        return archives.unpacked(chunks, self._limit, self._account)


class MinimumRateStream:
    """The chunks of a request whose sender is not too slow; time in which nothing is asked for does not count."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._seconds = RECEIVE_SECONDS

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                chunk = await anext(self._stream)
        except TimeoutError:
            told = f"The batch arrives too slowly: send at least {MIN_BYTES_PER_SECOND // 1024} KiB per second."
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, told) from None
        except ClientDisconnect:
            raise HTTPException(HTTPStatus.BAD_REQUEST, INTERRUPTED_UPLOAD) from None
        except BodyTooLarge as error:
            # It is no Exception, which neither threads nor groups of tasks pass on as they are.
            raise UploadTooLarge(str(error)) from None
        self._seconds += len(chunk) / MIN_BYTES_PER_SECOND - (time.monotonic() - asked)
        return chunk


async def _chained(start: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for chunk in chunks:
        yield chunk


async def _joined(chunks: AsyncIterator[bytes], most: int) -> bytes | None:
    joined = BoundedBuffer(most)
    async for chunk in chunks:
        joined.add(chunk)
    return joined.data


async def _text(chunks: AsyncIterator[bytes]) -> str:
    data = b""
    async for chunk in chunks:
        data = (data + chunk)[:MAX_FIELD_BYTES]
    return data.decode(errors="replace")
