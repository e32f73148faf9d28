"""Engine startup: finds the models and loads the default one."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from app.classifier.engine.frames import EngineConfig
from app.classifier.engine.model_check import ModelProbe
from app.classifier.engine.process import Engine
from app.classifier.manifest import Model
from app.classifier.registry import EXPORT_HINT, TUNE_HINT, Registry, find_default
from app.classifier.tuned import read_tuned
from app.config import Settings
from app.domain import EngineDied, EngineFailed, ModelBroken, StartupError
from app.images.memory import BYTES_PER_PIXEL
from app.observability.log_events import MODEL_FALLBACK, MODEL_NOT_LOADED
from app.observability.log_format import log_config

log = logging.getLogger(__name__)


def load_registry(settings: Settings) -> Registry:
    """All models of the folder. Raises StartupError if the default model is missing."""
    default, note = find_default(settings.models, settings.model, settings.model_precision)
    if note:
        log.warning(MODEL_FALLBACK, note)
    return Registry(settings.models, default, note, memory_bytes=settings.models_memory_bytes)


BASE_MEMORY_BYTES: Final = 2**30
THREAD_MEMORY_BYTES: Final = 128 * 2**20
"""Memory of a process besides models and images, with interpreters and stacks; about three times what was measured."""
LOADING: Final = 2
"""Copies of a model while it is loaded."""


def memory_limit(settings: Settings) -> int:
    """Memory limit of the engine in bytes, with a wide margin over what images and models need."""
    # A single image may take more than the budget of all.
    decoding = max(settings.max_decoding_bytes, max(BYTES_PER_PIXEL.values()) * settings.max_image_pixels)
    threads = settings.worker_threads * THREAD_MEMORY_BYTES
    return BASE_MEMORY_BYTES + threads + LOADING * settings.models_memory_bytes + decoding


def engine_config(settings: Settings, default: Model | None) -> EngineConfig:
    """The engine's configuration. ``default``: None if it does not classify."""
    return EngineConfig(
        models_dir=str(settings.models.resolve()),
        default=default.folder.name if default else "",
        threads=settings.worker_threads,
        memory_bytes=settings.models_memory_bytes,
        image_seconds=settings.max_image_seconds,
        log_config=log_config(settings),
        decoding_bytes=settings.max_decoding_bytes,
        max_memory_bytes=memory_limit(settings),
    )


@asynccontextmanager
async def models_loaded(
    engine: Engine, probe: ModelProbe, registry: Registry, *, load_all: bool
) -> AsyncIterator[None]:
    """Load the default model, or all; check the others, and those that change, in the background while inside.

    Raises StartupError if the default model cannot be loaded.
    """
    if load_all:
        # Excludes models that cannot be loaded.
        await probe.refresh()
    others = [model for model in registry.models if model.manifest.kind == "image" and model != registry.default]
    # The default is loaded last, so that it is unloaded last.
    for model in [*(others if load_all else []), registry.default]:
        error_message = None
        try:
            await engine.load([model.name])
        except ModelBroken as error:
            if model == registry.default:
                raise StartupError(f"{error.message} {_remedy(model)}") from error
            error_message = error.message
        except (EngineDied, EngineFailed) as error:
            if model == registry.default:
                raise StartupError(f"The model {model.name} cannot be loaded. {_remedy(model)}") from error
            log.exception(MODEL_NOT_LOADED, model.name)
            continue
        registry.note_checked({model: error_message})
    async with probe.following():
        yield


def _remedy(model: Model) -> str:
    tuned = read_tuned(model.folder.parent)
    if tuned and tuned.variant == model.folder.name:
        return f"`./classifier tune` chose it: {TUNE_HINT}."
    return f"To export it again, {EXPORT_HINT}."
