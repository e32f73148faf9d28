"""BentoML: one worker process a core. Run by ``bentoml serve``."""

import os
from pathlib import Path

import bentoml

from benchmarks.peers.model import answer, load


@bentoml.service(workers=len(os.sched_getaffinity(0)), traffic={"timeout": 120})
class ImageService:
    """A file in, labels out."""

    def __init__(self) -> None:
        self.classifier = load()

    @bentoml.api(route="/predict")
    def predict(self, file: Path) -> dict[str, object]:
        """Decoding and inference, in a thread of BentoML's."""
        return answer(self.classifier, file.read_bytes())
