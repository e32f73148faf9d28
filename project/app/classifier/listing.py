"""Describes the registry's models for the API."""

from collections.abc import Collection

from app.classifier.manifest import ImageManifest, Model
from app.classifier.registry import Registry
from app.models.pydantic_system import FeatureRead, ModelRead


def read_models(registry: Registry, loaded: Collection[str]) -> list[ModelRead]:
    """Usable models, default first, then broken folders; ``loaded``: names of the models in memory."""
    usable = [_read(registry, model, loaded=model.name in loaded) for model in registry.models]
    broken = [
        ModelRead(name=folder, status="broken", error=reason) for folder, reason in sorted(registry.broken.items())
    ]
    return usable + broken


def _read(registry: Registry, model: Model, *, loaded: bool) -> ModelRead:
    manifest = model.manifest
    is_default = model.name == registry.default_name
    read = ModelRead(
        name=model.name,
        status="ok",
        kind=manifest.kind,
        version=model.version,
        default=is_default,
        loaded=loaded,
        runtime=manifest.runtime,
        labels=len(model.labels),
        note=(registry.note if is_default else None) or manifest.note or None,
    )
    if isinstance(manifest, ImageManifest):
        size = manifest.input.size
        sure_from = manifest.decision.sure_from
        return read.model_copy(
            update={"precision": manifest.precision, "input_shape": [size, size, 3], "sure_from": sure_from}
        )
    features = [FeatureRead(**feature.model_dump()) for feature in manifest.features]
    return read.model_copy(update={"features": features})
