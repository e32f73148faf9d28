"""The registry of models over HTTP."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter

from app import crud
from app.api.deps import Running
from app.api.errors import problem_responses
from app.models.pydantic import Info, ModelRead

router = APIRouter(tags=["models"])

INFO_IMAGES: Final = 500


@router.get("/models", summary="The models that can be asked")
async def list_models(runtime: Running) -> list[ModelRead]:
    """Name, version, labels and input of each; folders that hold no usable model come last and say why."""
    return await runtime.dispatch.models()


@router.get("/info", summary="Names of models and images", responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE))
async def info(runtime: Running) -> Info:
    """The models, and the newest 500 images that can be classified again."""
    names = [model.name for model in await runtime.dispatch.models() if model.status == "ok"]
    return Info(models=names, images=await crud.recent_image_paths(INFO_IMAGES))
