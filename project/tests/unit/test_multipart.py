"""Multipart forms of uploads."""

import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import Request

from app.api.multipart import Part, form_parts, read_form

FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\nbytes\r\n--x--\r\n'
CONTENT_TYPE = "multipart/form-data; boundary=x"


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Objects are freed only when nothing refers to them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def request(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    return Request({"type": "http", "headers": [(b"content-type", CONTENT_TYPE.encode())]}, receive)


def parts_in_memory() -> int:
    return sum(type(found) is Part for found in gc.get_objects())


@pytest.mark.usefixtures("no_collection")
async def test_upload_is_freed_after_it_was_read() -> None:
    form = await read_form(request(FORM))
    assert form["file"].data == b"bytes"
    assert parts_in_memory() == 1
    del form
    assert parts_in_memory() == 0


@pytest.mark.usefixtures("no_collection")
async def test_streamed_upload_is_freed_after_it_was_read() -> None:
    parts = [(part.filename, [data async for data in part.data]) async for part in form_parts(CONTENT_TYPE, chunks())]
    assert parts == [("a.jpg", [b"bytes"])]
    assert parts_in_memory() == 0


async def chunks() -> AsyncIterator[bytes]:
    yield FORM
