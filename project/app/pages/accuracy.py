"""The page about a model's accuracy according to reviews."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from app.api.accuracy import list_accuracy, read_accuracy
from app.models.pydantic import StorableStr
from app.pages.errors import PageRoute
from app.pages.rendering import page

router = APIRouter(include_in_schema=False, route_class=PageRoute)

SHOWN_LABELS: Final = 100
SHOWN_CONFUSIONS: Final = 30
SHOWN_DAYS: Final = 30


@router.get("/statistics/accuracy/{name}/")
async def show_accuracy(
    request: Request, name: Annotated[StorableStr, Path()], version: Annotated[StorableStr, Query()] = ""
) -> Response:
    """Accuracy of a version by label and by day, and which labels are mistaken for which."""
    read = await read_accuracy(name, version)
    return page(
        request,
        "accuracy.html",
        read=read,
        versions=[one.model_version for one in await list_accuracy(name)],
        labels=read.labels[:SHOWN_LABELS],
        confusions=read.confusions[:SHOWN_CONFUSIONS],
        days=read.days[-SHOWN_DAYS:],
    )
