"""The process that renders images for people, so that no image they view delays or interrupts classification."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from app.classifier.engine.frames import EngineConfig
from app.classifier.engine.process import Engine
from app.domain import EngineDied, EngineInterrupted

ATTEMPTS: Final = 2
"""The process may have died because of another image; an image that exceeds the time limit fails the first time."""
MAX_INTERRUPTIONS: Final = 5
"""Attempts that other images may end before a viewer is asked to try again."""


class Renderer:
    """Starts the process with the first image, and restarts it when it dies."""

    def __init__(self, config: EngineConfig) -> None:
        # One core is left to classification and requests, if there are several.
        self._engine = Engine(
            replace(config, default="", threads=max(1, config.threads - 1)), "The process that renders images"
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Run the process while inside, from its first image on."""
        return self._engine.running(on_demand=True)

    async def render(self, data: bytes, max_side: int) -> bytes:
        """An image as a JPEG, its longer side at most ``max_side`` pixels.

        Raises ImageUnreadable, EngineFailed or EngineDied.
        """
        return await _retried(lambda: self._engine.render(data, max_side))

    async def explain(self, model: str, version: str, label: str, data: bytes, *, overlay: bool = False) -> bytes:
        """A PNG of an image with the heat map of a label; ``overlay``: of the heat map alone.

        Raises ImageUnreadable, ModelUnknown, NotExplainable, EngineFailed or EngineDied.
        """
        return await _retried(lambda: self._engine.explain(model, version, label, data, overlay=overlay))


async def _retried(request: Callable[[], Awaitable[bytes]]) -> bytes:
    deaths = interruptions = 0
    while True:
        try:
            return await request()
        except EngineInterrupted:
            interruptions += 1
            if interruptions == MAX_INTERRUPTIONS:
                raise
        except EngineDied:
            deaths += 1
            if deaths == ATTEMPTS:
                raise
