"""Names of labels, for scripts and for what people type."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from app.api.deps import AppState, State
from app.api.filters import catalog_of, catalogs_of
from app.domain import ModelUnknown
from app.models.pydantic import StorableStr
from app.pages.errors import PageOrJsonRoute
from app.pages.rendering import category_name, name_of
from app.pages.translation import language_of

router = APIRouter(include_in_schema=False, route_class=PageOrJsonRoute)

MAX_NAMED: Final = 100


@router.get("/label-names/")
async def list_names(
    request: Request,
    state: State,
    label: Annotated[list[StorableStr] | None, Query(max_length=MAX_NAMED)] = None,
    category: Annotated[list[StorableStr] | None, Query(max_length=MAX_NAMED)] = None,
    model: StorableStr = "",
) -> JSONResponse:
    """Names in the page's language: of labels and categories, or of all labels of a model."""
    language, catalogs = language_of(request), catalogs_of(state)
    labels = [entry.label for entry in (await catalog_of(model, state)).labels] if model else label or []
    return JSONResponse(
        {
            "labels": {one: name_of(one, language, catalogs) for one in labels},
            "categories": {one: category_name(one, language, catalogs) for one in category or []},
        }
    )


def to_label(text: str, model: str, state: AppState) -> str:
    """The label of a model that people mean: ``tabby`` by "Getigerte Katze" or "tabby cat".

    Unknown ones are written like the model's: ``my_cat`` for "my cat". Custom models have the labels that people gave
    them.
    """
    text = text.strip()
    if custom := state.custom.find(model):
        return state.custom.catalog(custom).label_named(text) or text
    try:
        catalog = state.registry.get(model).catalog
    except ModelUnknown:
        return text.replace(" ", "_")
    return catalog.label_named(text) or text.replace(" ", "_")
