"""The registry of models over HTTP."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter

from app import crud
from app.api.deps import Running
from app.api.errors import problem_responses
from app.manifest import ImageManifest, Model
from app.models.pydantic import FeatureRead, Info, ModelRead
from app.registry import Registry

router = APIRouter(tags=["models"])

INFO_IMAGES: Final = 500


@router.get("/models", summary="The models that can be asked")
async def list_models(runtime: Running) -> list[ModelRead]:
    """Name, version, labels and input of each; folders that hold no usable model come last and say why."""
    # Models that were dropped in since the last look are there at once, and known to work.
    await runtime.checker.look()
    registry = runtime.registry
    loaded = {*registry.loaded, *await runtime.engine.loaded()}
    usable = [_read(registry, model, loaded=model.name in loaded) for model in registry.models]
    broken = [ModelRead(name=folder, status="broken", error=told) for folder, told in sorted(registry.broken.items())]
    return usable + broken


@router.get("/info", summary="Names of models and images", responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE))
async def info(runtime: Running) -> Info:
    """The models, and the newest 500 images that can be classified again."""
    names = [model.name for model in runtime.registry.models]
    return Info(models=names, images=await crud.recent_image_paths(INFO_IMAGES))


def _read(registry: Registry, model: Model, *, loaded: bool) -> ModelRead:
    manifest = model.manifest
    is_default = model.name == registry.default.name
    read = ModelRead(
        name=model.name,
        status="ok",
        kind=manifest.kind,
        version=model.version,
        default=is_default,
        loaded=loaded,
        runtime=manifest.runtime,
        labels=len(model.labels),
        note=registry.note if is_default else None,
    )
    if isinstance(manifest, ImageManifest):
        size = manifest.input.size
        return read.model_copy(update={"precision": manifest.precision, "input_shape": [size, size, 3]})
    features = [FeatureRead(**feature.model_dump()) for feature in manifest.features]
    return read.model_copy(update={"features": features})
