"""Routes of the model registry."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path

from app import crud
from app.api.deps import Running
from app.api.errors import problem_responses
from app.models.service import Info, ModelRead

router = APIRouter(tags=["models"])

INFO_IMAGES: Final = 500


@router.get("/models", summary="List models")
async def list_models(runtime: Running) -> list[ModelRead]:
    """Lists name, version, labels and input of each model; broken model folders come last, with the reason."""
    return await runtime.dispatch.models()


@router.get(
    "/models/{name}/labels",
    summary="List a model's labels",
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
async def list_labels(
    name: Annotated[str, Path(description="Name of a model from /models.")], runtime: Running
) -> list[str]:
    """Labels as they appear in predictions. With `QUEUE=pgqueuer` the web process needs the model folder for this."""
    return list((await asyncio.to_thread(runtime.registry.get, name)).labels)


@router.get(
    "/info", summary="List names of models and images", responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE)
)
async def info(runtime: Running) -> Info:
    """The models, and the newest 500 images that can be classified again."""
    names = [model.name for model in await runtime.dispatch.models() if model.status == "ok"]
    return Info(models=names, images=await crud.recent_image_paths(INFO_IMAGES))
