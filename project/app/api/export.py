"""Exports of predictions as one file of any length: CSV (RFC 4180) or JSON Lines."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.api.csv_text import csv_text
from app.api.deps import AppState, CurrentCaller, State
from app.api.errors import problem_responses
from app.api.filters import Filtered
from app.api.middleware.trailing_slash import refuse_other_methods
from app.api.zip_writer import ZipWriter
from app.db.crud import audit_log, search
from app.db.crud.search import Filters, Sort
from app.domain import ImageMissing
from app.models.pydantic import PredictionRead
from app.models.tortoise import Prediction
from app.storage import Storage

router = APIRouter(prefix="/predictions", tags=["predictions"])

MAX_IDS: Final = 1_000
PAGE: Final = 1_000
"""Rows in memory at once."""
REVIEW_COLUMNS: Final = ["reviewed_at", "reviewed_by", "verdict"]
LISTS: Final = {"all_predictions", "categories", "error"}
NEWER_COLUMNS: Final = ["categories", "decision", "calibrated_confidence"]
COLUMNS: Final = [name for name in PredictionRead.model_fields if name not in {*LISTS, *REVIEW_COLUMNS, *NEWER_COLUMNS}]
RESULT_COLUMNS: Final = ["error_code", *(f"{part}_{n}" for n in range(1, 6) for part in ("label", "confidence"))]
_TYPES: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl", "zip": "application/zip"}


@router.get(
    "/export/",
    summary="Export predictions",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A file, newest prediction first",
            "content": {
                kind: {"schema": {"type": "string"}} for kind in ("text/csv", "application/jsonl", "application/zip")
            },
        },
        **problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
async def export(
    filters: Filtered,
    caller: CurrentCaller,
    state: State,
    format: Annotated[
        Literal["csv", "jsonl", "zip"],
        Query(description="`jsonl`: one prediction per line. `zip`: the images, and the CSV file."),
    ] = "csv",
    ids: Annotated[
        list[Annotated[int, Field(gt=0)]] | None,
        Query(max_length=MAX_IDS, description="Only these predictions: `ids=1&ids=2`."),
    ] = None,
) -> StreamingResponse:
    """Streams all predictions, or those matching the same filters as the list's.

    CSV has a column for each of the five labels; text that a spreadsheet would evaluate as a formula starts with an
    apostrophe.
    """
    if ids is not None:
        filters = replace(filters, ids=tuple(ids))
    # Reads the first page before sending anything, so that errors get their own status.
    first = await search.page(PAGE, None, filters, Sort.NEWEST.order(filters))
    used = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(filters).items()
        if value not in (None, "") and name != "meanings"
    }
    await audit_log.record("predictions.exported", caller, details={"format": format, **used})
    pages = _pages(first, filters, state)
    parts: AsyncIterator[bytes] | AsyncIterator[str]
    parts = _zip(pages, state.storage) if format == "zip" else _text(pages, _csv if format == "csv" else _json_lines)
    headers = {"Content-Disposition": f'attachment; filename="predictions.{format}"', "X-Accel-Buffering": "no"}
    return StreamingResponse(parts, headers=headers, media_type=_TYPES[format])


async def _pages(first: list[Prediction], filters: Filters, state: AppState) -> AsyncIterator[list[PredictionRead]]:
    """All pages; the first one, which may be empty, is read already."""
    order = Sort.NEWEST.order(filters)
    rows = first
    yield [state.read(row) for row in rows]
    while len(rows) == PAGE:
        rows = await search.page(PAGE, order.position(rows[-1]), filters, order)
        yield [state.read(row) for row in rows]


async def _text(pages: AsyncIterator[list[PredictionRead]], lines: Callable[..., Iterator[str]]) -> AsyncIterator[str]:
    is_first = True
    async for rows in pages:
        yield "".join(lines(rows, is_first=is_first))
        is_first = False


async def _zip(pages: AsyncIterator[list[PredictionRead]], storage: Storage) -> AsyncIterator[bytes]:
    """Images that are missing in the storage are left out. Raises StorageUnavailable."""
    archive, lines, is_first = ZipWriter(), list[str](), True
    async for rows in pages:
        lines += _csv(rows, is_first=is_first)
        is_first = False
        for row in rows:
            with suppress(ImageMissing):
                data = await storage.read(row.image_path)
                yield await archive.add(f"images/{row.id}{PurePosixPath(row.image_path).suffix}", data)
    yield await archive.add("predictions.csv", "".join(lines))
    yield archive.close()


def _json_lines(rows: list[PredictionRead], *, is_first: bool) -> Iterator[str]:  # noqa: ARG001 - same signature as _csv
    for row in rows:
        yield row.model_dump_json() + "\n"


def _csv(rows: list[PredictionRead], *, is_first: bool) -> Iterator[str]:
    lines: list[list[object]] = []
    if is_first:
        lines.append([*COLUMNS, *RESULT_COLUMNS, *REVIEW_COLUMNS, *NEWER_COLUMNS])
    for row in rows:
        read = json.loads(row.model_dump_json())
        scores = [value for score in read["all_predictions"] or [] for value in (score["label"], score["confidence"])]
        error = read["error"]["code"] if read["error"] else None
        values = [*(read[name] for name in COLUMNS), error, *scores]
        # All lines need as many fields as the header (RFC 4180, 2.4).
        values += [None] * (len(COLUMNS) + len(RESULT_COLUMNS) - len(values))
        # New columns come last, for programs that count them.
        values += [read[name] for name in REVIEW_COLUMNS]
        values.append("; ".join(f"{one['name']} {one['confidence']}" for one in read["categories"] or []) or None)
        values += [read[name] for name in NEWER_COLUMNS[1:]]
        lines.append(values)
    yield csv_text(lines)


refuse_other_methods(router, "/export/", "GET")
