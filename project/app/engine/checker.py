"""Learning which models cannot be loaded, in a process that ends afterwards: what loading takes goes with it."""

import asyncio
from dataclasses import replace

from app.domain import EngineDied, ModelBroken
from app.engine import Engine
from app.engine.frames import Orders
from app.registry import Registry


class Checker:
    """Tries models that are new to a registry. A file that brings its runtime down takes nothing else along."""

    def __init__(self, orders: Orders, registry: Registry) -> None:
        self._orders = replace(orders, threads=1)
        self._registry = registry
        self._lock = asyncio.Lock()

    async def look(self) -> None:
        """Look at the folder of models again, and try those that nobody tried; the broken ones are left out then."""
        async with self._lock:
            await asyncio.to_thread(self._registry.scan)
            new = self._registry.unchecked
            if not new:
                return
            engine = Engine(self._orders)
            async with engine.running():
                faults = {model: await _fault(engine, model.name) for model in new}
            await asyncio.to_thread(self._registry.note_checked, faults)


async def _fault(engine: Engine, name: str) -> str | None:
    try:
        await engine.check(name)
    except ModelBroken as error:
        return error.message
    except EngineDied:
        return f"The model {name} kills the process that loads it."
    return None
