"""What the web process asks of the database for an upload, without HTTP: creates predictions and waits for them."""

import argparse
import asyncio
import itertools
import json
import os
import time
from pathlib import Path
from typing import Final

from app.config import Settings
from app.db.crud.new_predictions import NewPrediction
from app.domain import ImageInfo, NoWorkerYet
from app.storage import make_storage
from app.storage.keys import new_key
from app.worker.dispatch import Dispatch
from app.worker.dispatch_queued import queued_dispatch

WAIT_SECONDS: Final = 60.0
START_PAUSE_SECONDS: Final = 0.1


async def write(image: bytes, seconds: float, concurrent: int) -> dict[str, float]:
    """Create predictions of one stored image for ``seconds``; returns their number and how many were not finished."""
    settings = Settings()
    storage = make_storage(settings)
    await storage.prepare()
    async with queued_dispatch(settings, storage) as backend:
        first = settings.uploads / await storage.put(image, "jpg")
        await _until_worker_is_announced(backend.dispatch)
        cpu, until = time.process_time(), time.monotonic() + seconds
        finished = await asyncio.gather(
            *(_one_after_another(backend.dispatch, settings.uploads, first, until) for _ in range(concurrent))
        )
        cpu_seconds = time.process_time() - cpu
    results = list(itertools.chain(*finished))
    return {
        "done": sum(results),
        "lost": len(results) - sum(results),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


async def _one_after_another(dispatch: Dispatch, uploads: Path, image: Path, until: float) -> list[bool]:
    results = []
    while time.monotonic() < until:
        model = await dispatch.image_model("")
        # Each row has a file of its own, which workers read; a link costs next to nothing.
        key = new_key("jpg")
        os.link(image, uploads / key)
        new = NewPrediction(
            filename="image.jpg",
            image_path=key,
            image=ImageInfo("image/jpeg", "jpg", 500, 375),
            size_bytes=60_000,
            sha256="0" * 64,
            model=model.name,
            model_version=model.version,
            received_at=time.monotonic(),
        )
        prediction = await dispatch.create(new)
        results.append(await dispatch.wait_until_finished(prediction, WAIT_SECONDS) is not None)
    return results


async def _until_worker_is_announced(dispatch: Dispatch) -> None:
    while True:
        try:
            await dispatch.image_model("")
        except NoWorkerYet:
            await asyncio.sleep(START_PAUSE_SECONDS)
        else:
            return


def main() -> None:
    """Write for a while, and print the outcome as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.row_writer")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True, help="as many uploads wait at once")
    given = parser.parse_args()
    print(json.dumps(asyncio.run(write(given.image.read_bytes(), given.seconds, given.connections))))


if __name__ == "__main__":
    main()
