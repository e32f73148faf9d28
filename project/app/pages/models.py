"""Model pages: the list, and forms for tabular models."""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, BackgroundTasks, Form, Path, Request, Response
from pydantic import ValidationError

from app.api import confidence, models, shadow
from app.api.deps import CurrentCaller, State
from app.api.tabular import classify_rows
from app.classifier.manifest import TabularManifest
from app.db.crud import statistics
from app.domain import ShadowNotFound
from app.models.pydantic import StorableStr
from app.models.pydantic_confidence import DecisionChoice
from app.models.pydantic_shadow import ShadowStart
from app.models.pydantic_system import DefaultModel
from app.pages.errors import PageRoute
from app.pages.rendering import page, redirect

SHARES: Final = (0.01, 0.1, 0.5, 1.0)
"""Shares of the uploads to choose from."""

router = APIRouter(prefix="/catalog", include_in_schema=False, route_class=PageRoute, strict_content_type=False)


@router.get("/")
async def show_models(request: Request, state: State) -> Response:
    """All models, with the recent speed of image models."""
    listed = await state.dispatch.models()
    speeds = await statistics.speeds([model.name for model in listed if model.kind == "image"])
    comparison = None
    with suppress(ShadowNotFound):
        comparison = await shadow.read_shadow(state)
    return page(request, "models.html", models=listed, speeds=speeds, shadow=comparison, shares=SHARES)


@router.post("/default/")
async def choose_default(
    request: Request, state: State, caller: CurrentCaller, name: Annotated[StorableStr, Form()]
) -> Response:
    """Make a model the default."""
    await models.choose_default(DefaultModel(name=name), state, caller)
    return redirect(request, "/catalog")


@router.post("/shadow/")
async def start_shadow(
    request: Request,
    state: State,
    caller: CurrentCaller,
    model: Annotated[StorableStr, Form(min_length=1, max_length=64)],
    share: Annotated[float, Form(ge=0.0001, le=1, allow_inf_nan=False)],
) -> Response:
    """Compare a second model with the default one."""
    await shadow.start_shadow(ShadowStart(model=model, share=share), state, caller)
    return redirect(request, "/catalog#shadow")


@router.post("/shadow/end/")
async def end_shadow(request: Request, state: State, caller: CurrentCaller) -> Response:
    """End the comparison."""
    await shadow.end_shadow(state, caller)
    return redirect(request, "/catalog#shadow")


@router.post("/{model}/decision/")
async def choose_decision(
    request: Request,
    state: State,
    caller: CurrentCaller,
    model: Annotated[StorableStr, Path()],
    precision: Annotated[float | None, Form(gt=0, lt=1, allow_inf_nan=False)] = None,
) -> Response:
    """Choose the threshold of sure results from reviews, or without ``precision`` the one of the model's manifest."""
    chosen = await confidence.read_decision(model, state)
    # What was chosen for single labels stays.
    labels = chosen.labels if precision is not None and chosen.source == "chosen" else {}
    await confidence.choose_decision(model, DecisionChoice(precision=precision, labels=labels), state, caller)
    return redirect(request, f"/statistics/accuracy/{quote(model, safe='')}#confidence")


@router.get("/{model}/")
async def show_form(model: str, request: Request, state: State, background: BackgroundTasks) -> Response:
    """A form with a tabular model's features and the result for the given values, initially the defaults."""
    classifier = await asyncio.to_thread(state.registry.tabular, model)
    manifest = classifier.model.manifest
    assert isinstance(manifest, TabularManifest)
    query = request.query_params
    values = {feature.name: query[feature.name] for feature in manifest.features if query.get(feature.name)}
    errors: dict[str, str] = {}
    result = None
    try:
        row = classifier.row_schema.model_validate({name: _number(text) for name, text in values.items()})
        (result,) = await classify_rows(state, classifier, [row], Response(), background)
    except ValidationError as error:
        errors = {str(item["loc"][0]): item["msg"] for item in error.errors()}
    shown_values = {feature.name: values.get(feature.name, f"{feature.default:g}") for feature in manifest.features}
    response = page(
        request,
        "tabular.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        model=classifier.model,
        features=manifest.features,
        values=shown_values,
        errors=errors,
        result=result,
    )
    response.background = background
    return response


def _number(text: str) -> float | str:
    """Leaves invalid numbers to the schema's error messages."""
    try:
        return float(text)
    except ValueError:
        return text
