"""Running engines that tests share: each start takes half a second of CPU time."""

from contextlib import AsyncExitStack
from pathlib import Path

from app.classifier.engine.process import Engine
from app.classifier.engine.startup import engine_config, load_registry
from app.config import Settings


class SharedEngines:
    """Engines by their configuration, for applications whose folder of models is one of ``folders``."""

    def __init__(self) -> None:
        self.folders: set[Path] = set()
        self._engines: list[Engine] = []
        self._running = AsyncExitStack()

    async def engine_for(self, settings: Settings) -> Engine | None:
        """The engine that an application with these settings would start; None if it has models of its own."""
        if settings.queue != "local" or settings.models not in self.folders:
            return None
        config = engine_config(settings, load_registry(settings).default)
        for engine in self._engines:
            if engine.config == config:
                return engine
        engine = Engine(config)
        await self._running.enter_async_context(engine.running())
        self._engines.append(engine)
        return engine

    def pids(self) -> set[int]:
        """Process IDs of the shared engines."""
        return {engine._process.pid for engine in self._engines}

    async def stop(self) -> None:
        """Stop all engines."""
        await self._running.aclose()


SHARED = SharedEngines()
"""The engines that the tests of this process share."""
