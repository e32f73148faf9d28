"""Streams labelled images as a ZIP file with a folder for each label, or as CSV."""

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

from app.api.csv_text import csv_text
from app.api.zip_writer import ZipWriter
from app.db.crud.labelled_images import LabelledImage
from app.domain import ImageMissing
from app.storage import Storage

COLUMNS: Final = ["file", "label", "id", "filename", "sha256", "source", "model", "labelled_by", "labelled_at"]
MAX_NAME_BYTES: Final = 255
_ALLOWED: Final = " !#$&'()+,-.;=@[]^_`{}"
"""What folder names may contain on all systems, besides letters and digits."""
_RESERVED: Final = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d|labels(?=\.csv$))(?=\.|$)")
"""Names that Windows does not allow, and that of the list."""


def folder_name(label: str) -> str:
    """A label as the name of a folder; characters that some system does not allow are percent-encoded.

    Labels that differ in more than case have different names, and no name leads out of its folder.
    """
    name = "".join(
        character if character.isalnum() or character in _ALLOWED else quote(character, safe="") for character in label
    )
    # Neither hidden, nor stripped by Windows, nor taken for an option or a formula.
    name = re.sub(r"^[-. =+@]|[. ]$", _encoded, name)
    name = _RESERVED.sub(lambda match: _encoded(match)[:3] + match[0][1:], name)
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(label.encode()).hexdigest()[:16]
    return name.encode()[: MAX_NAME_BYTES - 20].decode(errors="ignore") + f"%7E{digest}"


def _encoded(match: re.Match[str]) -> str:
    return f"%{ord(match[0][0]):02X}"


async def csv_lines(groups: AsyncIterator[list[LabelledImage]]) -> AsyncIterator[str]:
    """The list of all images, group by group."""
    yield csv_text([COLUMNS])
    async for images in _without_repeats(groups):
        yield csv_text(_line(image) for image in images)


async def zip_parts(groups: AsyncIterator[list[LabelledImage]], storage: Storage) -> AsyncIterator[bytes]:
    """A ZIP file with all images, which are not compressed again, and ``labels.csv``, image by image.

    Images that are missing in the storage are left out. Raises StorageUnavailable.
    """
    archive = ZipWriter()
    lines = [csv_text([COLUMNS])]
    async for images in _without_repeats(groups):
        for image in images:
            try:
                data = await storage.read(image.image_path)
            except ImageMissing:
                continue
            lines.append(csv_text([_line(image)]))
            yield await archive.add(_path(image), data)
    yield await archive.add("labels.csv", "".join(lines))
    yield archive.close()


async def _without_repeats(groups: AsyncIterator[list[LabelledImage]]) -> AsyncIterator[list[LabelledImage]]:
    """Each image once with each of its labels, which may be those of several models. An image is in one group."""
    async for images in groups:
        yield list({(image.id, image.label): image for image in reversed(images)}.values())[::-1]


def _path(image: LabelledImage) -> str:
    return f"{folder_name(image.label)}/{image.id}{PurePosixPath(image.image_path).suffix}"


def _line(image: LabelledImage) -> list[object]:
    return [
        *(_path(image), image.label, image.id, image.filename, image.sha256, image.source, image.model),
        *(image.labelled_by, image.labelled_at.isoformat()),
    ]
