"""Routes of the model registry."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path

from app.api.deps import State
from app.api.errors import problem_responses
from app.db.crud import custom_models, predictions
from app.models.pydantic_system import Info, ModelRead

router = APIRouter(tags=["models"])

INFO_IMAGES: Final = 500


@router.get("/models", summary="List models")
async def list_models(state: State) -> list[ModelRead]:
    """Lists name, version, labels and input of each model; broken model folders come last, with the reason."""
    return await state.dispatch.models()


@router.get(
    "/models/{name}/labels",
    summary="List a model's labels",
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
async def list_labels(
    name: Annotated[str, Path(description="Name of a model from /models.")], state: State
) -> list[str]:
    """Labels as they appear in predictions. With `QUEUE=pgqueuer` the web process needs the model folder for this."""
    if state.custom.find(name):
        return (await custom_models.get(name)).labels
    return list((await asyncio.to_thread(state.registry.get, name)).labels)


@router.get(
    "/info", summary="List names of models and images", responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE)
)
async def info(state: State) -> Info:
    """The models, and the newest 500 images that can be classified again."""
    names = [model.name for model in await state.dispatch.models() if model.status == "ok"]
    return Info(models=names, images=await predictions.recent_image_paths(INFO_IMAGES))
