"""Pages to teach custom models: their images, trainings, results and versions."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response

from app.api.custom_models import check_base, create_model, delete_model, read_model, wrong_answers_of
from app.api.deps import CurrentCaller, State
from app.api.example_body import receive_examples
from app.api.params import CustomModelName, Id
from app.db.crud import custom_models, examples, trainings
from app.db.notifications import FINISHED
from app.models.pydantic_custom import CustomModelCreate, ModelName, TrainingRead
from app.models.tortoise import Training
from app.pages.errors import PageRoute
from app.pages.rendering import page, redirect

router = APIRouter(prefix="/teach", include_in_schema=False, route_class=PageRoute)

THUMBNAILS: Final = 8
"""Examples shown of each label."""
WRONG: Final = 24
"""Wrong answers shown of a version."""
VERSIONS: Final = 20
SHOWN_LABELS: Final = 50
"""Labels whose images are shown."""


@router.get("/")
async def show_custom_models(request: Request, state: State) -> Response:
    """All custom models, and a form for a new one."""
    models = [await read_model(model.name) for model in await state.custom.all()]
    return page(request, "teach.html", models=models)


@router.post("/")
async def create(request: Request, state: State, caller: CurrentCaller, name: Annotated[ModelName, Form()]) -> Response:
    """Create a model."""
    await create_model(CustomModelCreate(name=name), state, caller)
    return redirect(request, f"/teach/{name}")


@router.get("/{name}/")
async def show_custom_model(name: CustomModelName, request: Request, state: State) -> Response:
    """A model's images, results and versions."""
    row, model = await asyncio.gather(custom_models.get(name), read_model(name))
    images, versions, newest = await asyncio.gather(
        examples.newest_by_label(row.id, THUMBNAILS),
        trainings.list_for_model(row.id, VERSIONS, versions_only=True),
        trainings.list_for_model(row.id, 2),
    )

    def read(training: Training) -> TrainingRead:
        return TrainingRead.from_row(training, name, row.training_id)

    served = read(await trainings.get(row.training_id)) if row.training_id else None
    wrong = await wrong_answers_of(served.id) if served else []
    return page(
        request,
        "teach-model.html",
        model=model,
        labels=[(count, images.get(count.label, [])) for count in model.labels[:SHOWN_LABELS]],
        versions=[read(version) for version in versions],
        newest=next((read(training) for training in newest if training.status in FINISHED), None),
        served=served,
        wrong=wrong[:WRONG],
        max_upload_bytes=state.settings.max_upload_bytes,
    )


@router.post("/{name}/examples/")
async def add_examples(name: CustomModelName, request: Request, state: State, caller: CurrentCaller) -> Response:
    """Add images of one label, or a ZIP file of folders."""
    batch = await receive_examples(await custom_models.get(name), request, state, caller)
    refused = [item for item in batch.items if item.error]
    if not refused and not batch.error:
        return redirect(request, f"/teach/{name}")
    return page(request, "teach-refused.html", status=HTTPStatus.OK, name=name, batch=batch, refused=refused)


@router.post("/{name}/training/")
async def train(name: CustomModelName, request: Request, caller: CurrentCaller) -> Response:
    """Request a training."""
    await trainings.request((await custom_models.get(name)).id, caller)
    return redirect(request, f"/teach/{name}")


@router.post("/{name}/version/")
async def serve(
    name: CustomModelName,
    request: Request,
    state: State,
    caller: CurrentCaller,
    version: Annotated[int, Form(ge=1, le=2**31 - 1)],
) -> Response:
    """Serve another version."""
    await check_base(name, version, state)
    await custom_models.serve(name, version, caller)
    await state.custom.refresh()
    return redirect(request, f"/teach/{name}")


@router.post("/{name}/deletion/")
async def delete(name: CustomModelName, request: Request, state: State, caller: CurrentCaller) -> Response:
    """Delete a model."""
    await delete_model(name, state, caller)
    return redirect(request, "/teach/")


@router.post("/{name}/examples/{id}/deletion/")
async def delete_example(name: CustomModelName, id: Id, request: Request) -> Response:
    """Remove an image from the examples."""
    await examples.delete_all((await custom_models.get(name)).id, [id])
    return redirect(request, f"/teach/{name}")
