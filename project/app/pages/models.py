"""Model pages: the list, and forms for tabular models."""

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, BackgroundTasks, Request, Response
from pydantic import ValidationError

from app import statistics
from app.api.deps import Running
from app.api.predict import answers_of
from app.manifest import TabularManifest
from app.pages.rendering import page
from app.pages.routing import PageRoute

router = APIRouter(prefix="/catalog", include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def show_models(request: Request, runtime: Running) -> Response:
    """All models, with the recent speed of image models."""
    models = await runtime.dispatch.models()
    speeds = await statistics.speeds([model.name for model in models if model.kind == "image"])
    return page(request, "catalog.html", models=models, speeds=speeds)


@router.get("/{model}/")
async def show_form(model: str, request: Request, runtime: Running, background: BackgroundTasks) -> Response:
    """A form with a tabular model's features and the result for the given values, initially the defaults."""
    classifier = await asyncio.to_thread(runtime.registry.tabular, model)
    manifest = classifier.model.manifest
    assert isinstance(manifest, TabularManifest)
    asked = request.query_params
    given = {feature.name: asked[feature.name] for feature in manifest.features if asked.get(feature.name)}
    errors: dict[str, str] = {}
    answer = None
    try:
        row = classifier.row_schema.model_validate({name: _number(text) for name, text in given.items()})
        (answer,) = await answers_of(runtime, classifier, [row], Response(), background)
    except ValidationError as error:
        errors = {str(told["loc"][0]): told["msg"] for told in error.errors()}
    values = {feature.name: given.get(feature.name, f"{feature.default:g}") for feature in manifest.features}
    shown = page(
        request,
        "tabular.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        model=classifier.model,
        features=manifest.features,
        values=values,
        errors=errors,
        answer=answer,
    )
    shown.background = background
    return shown


def _number(text: str) -> float | str:
    """Leaves invalid numbers to the schema's error messages."""
    try:
        return float(text)
    except ValueError:
        return text
