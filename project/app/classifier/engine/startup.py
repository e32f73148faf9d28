"""Engine startup: finds the models and loads the default one."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.config import Settings
from app.domain import EngineDied, EngineFailed, ModelBroken, StartupError
from app.engine import Engine
from app.engine.checker import ModelProbe
from app.engine.frames import EngineConfig
from app.log_events import MODEL_FALLBACK, MODEL_NOT_LOADED
from app.manifest import Model
from app.registry import EXPORT_HINT, Registry, find_default
from app.repeating import alongside

log = logging.getLogger(__name__)


def load_registry(settings: Settings) -> Registry:
    """All models of the folder. Raises StartupError if the default model is missing."""
    default, note = find_default(settings.models, settings.model, settings.model_precision)
    if note:
        log.warning(MODEL_FALLBACK, note)
    return Registry(settings.models, default, note, memory_bytes=settings.models_memory_bytes)


def engine_config(settings: Settings, default: Model | None) -> EngineConfig:
    """The engine's configuration. ``default``: None if it does not classify."""
    return EngineConfig(
        models_dir=str(settings.models.resolve()),
        default=default.folder.name if default else "",
        threads=settings.worker_threads,
        memory_bytes=settings.models_memory_bytes,
        image_seconds=settings.max_image_seconds,
        log_config=settings.log_config,
    )


@asynccontextmanager
async def loaded(engine: Engine, checker: ModelProbe, registry: Registry, *, everything: bool) -> AsyncIterator[None]:
    """Load the default model, or all; the others are checked in the background while inside.

    Raises StartupError if the default model cannot be loaded.
    """
    if everything:
        # Excludes models that cannot be loaded.
        await checker.look()
    others = [model for model in registry.models if model.manifest.kind == "image" and model != registry.default]
    # The default is loaded last, so that it is unloaded last.
    for model in [*(others if everything else []), registry.default]:
        fault = None
        try:
            await engine.load([model.name])
        except ModelBroken as error:
            if model == registry.default:
                raise StartupError(f"{error.message} To export it again, {EXPORT_HINT}.") from error
            fault = error.message
        except (EngineDied, EngineFailed) as error:
            if model == registry.default:
                raise StartupError(
                    f"The model {model.name} cannot be loaded. To export it again, {EXPORT_HINT}."
                ) from error
            log.exception(MODEL_NOT_LOADED, model.name)
            continue
        registry.note_checked({model: fault})
    async with alongside(checker.look()):
        yield
