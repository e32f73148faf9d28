"""Uploaded images in memory until they are classified, so that they need not be read from the storage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MAX_BUFFERED_BYTES: Final = 64 * 2**20
"""Above this, images are read from the storage."""


class ImageBuffer:
    """Holds images by prediction, and counts those that are being classified inline."""

    def __init__(self) -> None:
        self._images: dict[int, bytes] = {}
        self._bytes = 0

    def put(self, prediction_id: int, data: bytes) -> None:
        """Keep an image if there is room."""
        if self._fits(data):
            self._images[prediction_id] = data
            self._bytes += len(data)

    def pop(self, prediction_id: int) -> bytes | None:
        """Remove and return an image; None if it was not kept."""
        data = self._images.pop(prediction_id, None)
        self._bytes -= len(data or b"")
        return data

    @contextmanager
    def reserved(self, data: bytes) -> Iterator[bool]:
        """Count an image that the caller holds while inside; False if there is no room for it."""
        if not self._fits(data):
            yield False
            return
        self._bytes += len(data)
        try:
            yield True
        finally:
            self._bytes -= len(data)

    def _fits(self, data: bytes) -> bool:
        return self._bytes + len(data) <= MAX_BUFFERED_BYTES
