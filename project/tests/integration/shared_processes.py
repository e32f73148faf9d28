"""Running processes that read images, which tests share: each start takes up to half a second of CPU time."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypedDict, TypeVar

from app.classifier.engine.inspectors import Inspectors
from app.classifier.engine.model_check import ModelProbe
from app.classifier.engine.process import Engine
from app.classifier.engine.renderer import Renderer
from app.classifier.engine.startup import engine_config, load_registry
from app.classifier.manifest import Model
from app.config import Settings


class RunningProcesses(TypedDict, total=False):
    """Running processes for an application, which starts those that are missing."""

    engine: Engine
    running_inspectors: Inspectors
    running_renderer: Renderer


class Runnable(Protocol):
    """Has a process or several."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Run while inside."""


Shared = TypeVar("Shared", bound=Runnable)


class SharedProcesses:
    """Processes by their configuration, for applications whose folder of models is one of ``folders``."""

    def __init__(self) -> None:
        self.folders: set[Path] = set()
        self._defaults: dict[tuple[Path, str, str], Model] = {}
        self._shared: list[tuple[tuple[Any, ...], Runnable]] = []
        self._stack = AsyncExitStack()

    async def running_for(self, settings: Settings) -> RunningProcesses:
        """What an application with these settings would start; nothing if it has models of its own."""
        if settings.queue != "local" or settings.models not in self.folders:
            return {}
        config = engine_config(settings, self._default(settings))
        without_model, limits = engine_config(settings, None), (settings.max_upload_bytes, settings.max_image_pixels)
        return {
            "engine": await self._started(Engine(config), config),
            "running_inspectors": await self._started(Inspectors(without_model, *limits), without_model, limits),
            "running_renderer": await self._started(Renderer(without_model), without_model),
        }

    def _default(self, settings: Settings) -> Model:
        """The default model, read once: the folders do not change."""
        key = (settings.models, settings.model, settings.model_precision)
        if key not in self._defaults:
            self._defaults[key] = load_registry(settings).default
        return self._defaults[key]

    async def _started(self, new: Shared, *configuration: Any) -> Shared:
        """The running one with the same configuration, or the new one, started."""
        for known, shared in self._shared:
            if isinstance(shared, type(new)) and known == configuration:
                return shared
        await self._stack.enter_async_context(new.running())
        self._shared.append((configuration, new))
        return new

    def pids(self) -> set[int]:
        """Process IDs of all of them."""
        engines = [engine for _, shared in self._shared for engine in _engines(shared)]
        return {engine._process.pid for engine in engines if engine._has_started}

    async def stop(self) -> None:
        """Stop all of them."""
        await self._stack.aclose()


def _engines(shared: Runnable) -> Iterator[Engine]:
    match shared:
        case Engine():
            yield shared
        case Inspectors():
            yield from shared._engines
        case Renderer():
            yield shared._engine


SHARED = SharedProcesses()
"""Processes shared by all tests of a pytest process."""


class RememberingProbe(ModelProbe):
    """Checks each model once for all applications, in a process that ends afterwards."""

    _loadable: ClassVar[set[Model]] = set()

    async def refresh(self) -> None:
        """Check models that no application has checked."""
        known = dict.fromkeys(self._loadable & set(self._registry.unchecked))
        await asyncio.to_thread(self._registry.note_checked, known)
        await super().refresh()
        self._loadable.update(set(self._registry.models) - set(self._registry.unchecked))
