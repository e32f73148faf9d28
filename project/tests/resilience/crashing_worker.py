"""A worker that dies on one image every time: ``python -m tests.resilience.crashing_worker``."""

import os
import signal
import sys
from typing import Any

from app.classifier.engine.process import Classification, Engine
from app.cli.main import main

POISON = b"poison"

classify = Engine.classify


async def die_over_poison(self: Engine, model: str, data: bytes, **options: Any) -> Classification:
    """The engine's result, except for the deadly image."""
    if POISON in data:
        os.kill(os.getpid(), signal.SIGKILL)
    return await classify(self, model, data, **options)


if __name__ == "__main__":
    Engine.classify = die_over_poison  # type: ignore[method-assign]
    sys.exit(main(["worker"]))
