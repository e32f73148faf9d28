"""Learning which models cannot be loaded, in a process that ends afterwards: what loading takes goes with it."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from app.domain import EngineDied, EngineFailed, ModelBroken, ModelUnknown
from app.engine import Engine
from app.engine.frames import Orders
from app.log_events import MODEL_NOT_TRIED
from app.registry import Registry

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 60.0
"""How long loading one model may take; who asks for the list of models waits for it."""
MOST_DEATHS: Final = 2
"""The process may also die of something else, such as want of memory: a model is blamed when it died over it again."""


class Checker:
    """Tries models that are new to a registry. A file that brings its runtime down takes nothing else along."""

    def __init__(self, orders: Orders, registry: Registry) -> None:
        self._orders = replace(orders, threads=1)
        self._registry = registry
        self._lock = asyncio.Lock()

    async def look(self) -> None:
        """Look at the folder of models again, and try those that nobody tried; the broken ones are left out then.

        Those that could not be tried, since the process did not start, are tried at the next look.
        """
        async with self._lock:
            await asyncio.to_thread(self._registry.scan)
            new = self._registry.unchecked
            if not new:
                return
            engine = Engine(self._orders, "The process that tries models")
            async with engine.running():
                for model in new:
                    try:
                        fault = await _fault(engine, model.name)
                    except ModelUnknown:
                        continue  # Its folder is gone.
                    except (EngineDied, TimeoutError):
                        log.warning(MODEL_NOT_TRIED, model.name)
                        return
                    # One by one: what was learnt holds, whatever happens over the next.
                    await asyncio.to_thread(self._registry.note_checked, {model: fault})


async def _fault(engine: Engine, name: str) -> str | None:
    """What is wrong with a model. Raises ModelUnknown; EngineDied or TimeoutError where it could not be tried."""
    for _ in range(MOST_DEATHS):
        # Answered, it runs: what it dies of afterwards is the model.
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
    return f"The model {name} kills the process that loads it."
