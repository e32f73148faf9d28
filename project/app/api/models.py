"""The registry of models over HTTP."""

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


@router.get("/models", summary="The models that can be asked")
async def list_models(runtime: Running) -> list[ModelRead]:
    """Name, version, labels and input of each; folders that hold no usable model come last and say why."""
    return await runtime.dispatch.models()


@router.get(
    "/models/{name}/labels",
    summary="The labels that a model knows",
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
async def list_labels(
    name: Annotated[str, Path(description="Name of a model from /models.")], runtime: Running
) -> list[str]:
    """As they are in answers. With `QUEUE=pgqueuer` the web process needs the model for that."""
    return list((await asyncio.to_thread(runtime.registry.get, name)).labels)


@router.get("/info", summary="Names of models and images", responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE))
async def info(runtime: Running) -> Info:
    """The models, and the newest 500 images that can be classified again."""
    names = [model.name for model in await runtime.dispatch.models() if model.status == "ok"]
    return Info(models=names, images=await crud.recent_image_paths(INFO_IMAGES))
