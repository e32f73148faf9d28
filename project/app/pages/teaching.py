"""Pages to teach custom models: their pictures, trainings, results and versions."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from app.api.custom_models import create_model, read_model, receive_examples, wrong_answers_of
from app.api.deps import CurrentCaller, State
from app.db.crud import custom_models, examples, trainings
from app.models.pydantic_custom import CustomModelCreate, TrainingRead
from app.models.tortoise import CustomModel
from app.pages.errors import PageRoute
from app.pages.rendering import page

router = APIRouter(prefix="/teach", include_in_schema=False, route_class=PageRoute)

THUMBNAILS: Final = 8
"""Examples shown of each label."""
WRONG: Final = 24
"""Wrong answers shown of a version."""
VERSIONS: Final = 20


@router.get("/")
async def show_custom_models(request: Request, state: State) -> Response:
    """All custom models, and a form for a new one."""
    models = [await read_model(model.name) for model in await state.custom.all()]
    return page(request, "teach.html", models=models)


@router.post("/")
async def create(request: Request, state: State, caller: CurrentCaller, name: Annotated[str, Form()] = "") -> Response:
    """Create a model."""
    await create_model(CustomModelCreate(name=name.strip()), state, caller)
    return _redirect(request, name.strip())


@router.get("/{name}/")
async def show_custom_model(name: str, request: Request, state: State) -> Response:
    """A model's pictures, results and versions."""
    row, model = await asyncio.gather(custom_models.get(name), read_model(name))
    labels, versions = await asyncio.gather(_pictures(row), trainings.list_for_model(row.id, VERSIONS))
    reads = [TrainingRead.from_row(version, name, row.training_id) for version in versions]
    newest = next((read for read in reads if read.status in {"succeeded", "failed"}), None)
    served = next((read for read in reads if read.served), None)
    wrong = await wrong_answers_of(served.id) if served else []
    return page(
        request,
        "teach-model.html",
        model=model,
        labels=labels,
        versions=[read for read in reads if read.version],
        newest=newest,
        served=served,
        wrong=wrong[:WRONG],
        max_upload_bytes=state.settings.max_upload_bytes,
    )


@router.post("/{name}/examples/")
async def add_examples(name: str, request: Request, state: State, caller: CurrentCaller) -> Response:
    """Add pictures of one label, or a ZIP file of folders."""
    batch = await receive_examples(await custom_models.get(name), request, state, caller)
    refused = [item for item in batch.items if item.error]
    if not refused and not batch.error:
        return _redirect(request, name)
    return page(request, "teach-refused.html", status=HTTPStatus.OK, name=name, batch=batch, refused=refused)


@router.post("/{name}/training/")
async def train(name: str, request: Request, caller: CurrentCaller) -> Response:
    """Request a training."""
    await trainings.request((await custom_models.get(name)).id, caller)
    return _redirect(request, name)


@router.post("/{name}/version/")
async def serve(
    name: str, request: Request, state: State, caller: CurrentCaller, version: Annotated[int, Form()]
) -> Response:
    """Serve another version."""
    await custom_models.serve(name, version, caller)
    await state.custom.refresh()
    return _redirect(request, name)


@router.post("/{name}/deletion/")
async def delete(name: str, request: Request, state: State, caller: CurrentCaller) -> Response:
    """Delete a model."""
    await custom_models.delete(name, caller)
    await state.custom.refresh()
    return _redirect(request, "")


@router.post("/{name}/examples/{id}/deletion/")
async def delete_example(name: str, id: int, request: Request) -> Response:
    """Remove a picture from the examples."""
    await examples.delete((await custom_models.get(name)).id, id)
    return _redirect(request, name)


async def _pictures(model: CustomModel) -> list[dict[str, Any]]:
    """The newest examples of each label."""
    return [
        {"label": label, "examples": await examples.page(model.id, THUMBNAILS, None, label)} for label in model.labels
    ]


def _redirect(request: Request, name: str) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/teach/{name}", HTTPStatus.SEE_OTHER)
