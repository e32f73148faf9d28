"""Processes that inspect uploaded files, so that no library parses a file in the service's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

from app.classifier.engine.frames import EngineConfig
from app.classifier.engine.process import Engine
from app.domain import EngineDied, EngineFailed, ImageInfo, NotAnImage

PROCESSES: Final = 2
"""Each inspects one file at a time, so that a hostile file delays few others, and it is clear which one it was."""
INSPECT_SECONDS: Final = 2.0
"""Time limit for one file; the largest real ones take a tenth of it."""
START_SECONDS: Final = 30.0
ATTEMPTS: Final = 2
"""A process may also die, or be suspended, for other reasons: a file is blamed the second time."""
BASE_MEMORY_BYTES: Final = 256 * 2**20
COPIES: Final = 8
"""Copies of the largest file that parsing and removing metadata make."""
CANVAS_BYTES: Final = 8
"""Bytes per pixel: libwebp allocates two canvases when it opens a file."""


def memory_limit(max_upload_bytes: int, max_pixels: int) -> int:
    """Memory of each process, in bytes."""
    return BASE_MEMORY_BYTES + COPIES * max_upload_bytes + CANVAS_BYTES * max_pixels


class Inspectors:
    """Starts processes with the first file, and restarts those that die."""

    def __init__(self, config: EngineConfig, max_upload_bytes: int, max_pixels: int) -> None:
        """``max_upload_bytes``: of a file; ``max_pixels``: of an image."""
        memory = memory_limit(max_upload_bytes, max_pixels)
        limits = replace(config, default="", threads=1, image_seconds=INSPECT_SECONDS, max_memory_bytes=memory)
        self._engines = [Engine(limits, "A process that inspects files") for _ in range(PROCESSES)]
        self._idle: asyncio.LifoQueue[Engine] = asyncio.LifoQueue()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the processes while inside, each from its first file on."""
        async with AsyncExitStack() as stack:
            for engine in self._engines:
                await stack.enter_async_context(engine.running(on_demand=True))
                self._idle.put_nowait(engine)
            yield

    async def inspect(self, data: bytes, max_pixels: int, *, keep: bool) -> tuple[ImageInfo, bytes]:
        """Format and size of a file, and the file without metadata; with ``keep``, the file itself.

        Raises NotAnImage, also if the file exceeds a limit on time or memory, or ImageTooLarge.
        """
        engine = await self._idle.get()
        try:
            for _ in range(ATTEMPTS):
                try:
                    if not engine.is_alive:
                        async with asyncio.timeout(START_SECONDS):
                            await engine.loaded()
                    async with asyncio.timeout(INSPECT_SECONDS):
                        return await engine.inspect(data, max_pixels, keep=keep)
                except EngineDied:
                    continue
                except TimeoutError:
                    # A library may hold the lock that the process's own time limit needs.
                    engine.kill()
                except EngineFailed as error:
                    raise NotAnImage from error
            raise NotAnImage
        finally:
            self._idle.put_nowait(engine)
