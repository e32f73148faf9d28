"""Inspects uploaded bytes: format, size, hash, and the file to store.

JPEGs are parsed by our own code, in a thread; all other files in processes of their own (``Inspectors``).
"""

import asyncio
import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from app.classifier.engine.inspectors import Inspectors
from app.concurrency import Batcher
from app.config import Settings
from app.domain import ImageInfo, ImageTooLarge, NotAnImage, ServiceError, UploadTooLarge
from app.images import inspection, jpeg
from app.observability import timing

MAX_INSPECTED: Final = 16
"""Images inspected in one turn of a thread."""


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """An uploaded image. ``size_bytes`` and ``sha256`` (hexadecimal) are of the upload, ``stored`` is what is kept."""

    info: ImageInfo
    size_bytes: int
    sha256: str
    stored: bytes


class Inspector:
    """Inspects images; JPEGs are batched with concurrent ones."""

    def __init__(self, settings: Settings, inspectors: Inspectors) -> None:
        self._inspectors = inspectors
        self._max_bytes = settings.max_upload_bytes
        self._max_pixels = settings.max_image_pixels
        self._keep_originals = settings.keep_originals
        self._inspect_batched = Batcher[bytes, InspectedImage](self._inspect_all, max_items=MAX_INSPECTED)

    async def inspect(self, data: bytes) -> InspectedImage:
        """Inspect an upload. Raises UploadTooLarge, NotAnImage or ImageTooLarge."""
        if len(data) > self._max_bytes:
            raise UploadTooLarge.above(self._max_bytes)
        with timing.stage("inspect"):
            if data.startswith(jpeg.SIGNATURE):
                return await self._inspect_batched(data)
            info, stored = await self._inspectors.inspect(data, self._max_pixels, keep=self._keep_originals)
            digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
            return InspectedImage(info, len(data), digest, stored)

    def _inspect_all(self, uploads: list[bytes]) -> Awaitable[list[InspectedImage | ServiceError]]:
        return asyncio.to_thread(lambda: [self._inspect(data) for data in uploads])

    def _inspect(self, data: bytes) -> InspectedImage | ServiceError:
        try:
            info = inspection.inspect(data, self._max_pixels)
            stored = data if self._keep_originals else inspection.strip_metadata(data, info)
            return InspectedImage(info, len(data), hashlib.sha256(data).hexdigest(), stored)
        except (NotAnImage, ImageTooLarge) as error:
            return error
