"""``classifier worker`` with an engine that answers at once, so that the queue and the database are measured."""

import asyncio
from functools import cached_property
from pathlib import Path

import app.worker.process as worker_process
from app.classifier.engine.process import Classification, Engine
from app.classifier.manifest import Model, read_model
from app.config import Settings
from app.domain import LabelScore, Thresholds


class InstantEngine(Engine):
    """The worker's engine, except that it does not look at the images."""

    async def classify(
        self,
        model: str,
        data: bytes,  # noqa: ARG002 - it answers at once
        *,
        alone: bool = False,  # noqa: ARG002
        embed: bool = False,  # noqa: ARG002
        thresholds: Thresholds | None = None,  # noqa: ARG002
        details: bool = True,  # noqa: ARG002
    ) -> Classification:
        """Return five labels at once."""
        scores = [LabelScore(label, 0.2) for label in self._default.labels[:5]]
        return Classification(scores, model, self._default.version, (0.0, 0.0))

    @cached_property
    def _default(self) -> Model:
        return read_model(Path(self.config.models_dir) / self.config.default)


if __name__ == "__main__":
    vars(worker_process)["Engine"] = InstantEngine
    asyncio.run(worker_process.work(Settings()))
