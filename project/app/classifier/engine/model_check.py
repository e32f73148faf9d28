"""Checks which models can be loaded, in a process that ends afterwards and frees its memory."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from app.classifier.engine.frames import EngineConfig
from app.classifier.engine.process import Engine
from app.classifier.registry import FOLLOW_SECONDS, Registry
from app.concurrency import repeating
from app.domain import EngineDied, EngineFailed, ModelBroken, ModelUnknown
from app.observability.log_events import MODEL_NOT_TRIED

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 60.0
"""Time limit for loading a model; requests for the list of models wait for it."""
MAX_DEATHS: Final = 2
"""The process may also die of other causes, such as lack of memory: a model is blamed if it dies twice."""


class ModelProbe:
    """Checks models that are new to a registry. A file that crashes its runtime affects nothing else."""

    def __init__(self, config: EngineConfig, registry: Registry) -> None:
        self._config = replace(config, threads=1)
        self._registry = registry
        self._lock = asyncio.Lock()
        self._has_checked = False

    def following(self) -> AbstractAsyncContextManager[None]:
        """Check all models, and those whose files change, in the background while inside."""
        return repeating(self._refresh_if_changed, FOLLOW_SECONDS, "Checking models")

    async def _refresh_if_changed(self) -> None:
        if not self._has_checked or await asyncio.to_thread(self._registry.has_changed):
            await self.refresh()
            self._has_checked = True

    async def refresh(self) -> None:
        """Scan the models folder and check new models; broken ones are excluded from then on.

        Models that could not be checked because the process did not start are checked next time.
        """
        async with self._lock:
            await asyncio.to_thread(self._registry.scan)
            new = self._registry.unchecked
            if not new:
                return
            engine = Engine(self._config, "The process that checks models")
            async with engine.running():
                for model in new:
                    try:
                        error_message = await _load_error(engine, model.name)
                    except ModelUnknown:
                        continue  # its folder was removed
                    except (EngineDied, TimeoutError):
                        log.warning(MODEL_NOT_TRIED, model.name)
                        return
                    # Recorded one by one, so that a failure with the next model loses nothing.
                    await asyncio.to_thread(self._registry.note_checked, {model: error_message})


async def _load_error(engine: Engine, name: str) -> str | None:
    """Why a model cannot be loaded, or None. Raises ModelUnknown; EngineDied or TimeoutError if it was not checked."""
    for _ in range(MAX_DEATHS):
        # Once it has responded, the process runs: if it dies later, the model is the cause.
        async with asyncio.timeout(CHECK_SECONDS):
            await engine.loaded()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await engine.check(name)
        except ModelBroken as error:
            return error.message
        except EngineFailed as error:
            return f"The model {name} cannot be loaded: {error.message}"
        except TimeoutError:
            return f"The model {name} takes longer than {CHECK_SECONDS:.0f} seconds to load."
        except EngineDied:
            continue
        return None
    return f"The model {name} crashes the process that loads it."
