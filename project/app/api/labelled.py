"""Route for the export of labelled images."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Final, Literal, TypeVar

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.api.deps import CurrentCaller, State
from app.api.errors import problem_responses
from app.api.labelled_files import csv_lines, zip_parts
from app.api.middleware.trailing_slash import refuse_other_methods
from app.db.crud import audit_log, labelled_images
from app.models.pydantic import StorableStr

router = APIRouter(prefix="/predictions", tags=["reviews"])

_TYPES: Final = {"zip": "application/zip", "csv": "text/csv; charset=utf-8"}
Item = TypeVar("Item")


@router.get(
    "/labelled/",
    summary="Export everything that people have labelled",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A file",
            "content": {
                "application/zip": {"schema": {"type": "string", "format": "binary"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        **problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
async def export_labelled(
    state: State,
    caller: CurrentCaller,
    format: Annotated[
        Literal["zip", "csv"], Query(description="`zip`: images in a folder for each label; `csv`: labels alone.")
    ] = "zip",
    model: Annotated[StorableStr, Query(description="Only of this model.")] = "",
) -> StreamingResponse:
    """Streams reviewed predictions and examples of custom models with their labels.

    The ZIP file has the layout that training tools read (ImageFolder), and a list of all images, `labels.csv`.
    """
    groups = await _started(labelled_images.pages(model or None))
    await audit_log.record("predictions.exported", caller, details={"format": f"labelled {format}", "model": model})
    parts = zip_parts(groups, state.storage) if format == "zip" else csv_lines(groups)
    headers = {"Content-Disposition": f'attachment; filename="labelled.{format}"', "X-Accel-Buffering": "no"}
    return StreamingResponse(parts, headers=headers, media_type=_TYPES[format])


async def _started(groups: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """The same, with the first one read already, so that its errors get their own status."""
    first = await anext(groups, None)

    async def chained() -> AsyncIterator[Item]:
        if first is not None:
            yield first
        async for item in groups:
            yield item

    return chained()


refuse_other_methods(router, "/labelled/", "GET")
