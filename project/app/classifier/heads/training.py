"""Trains heads in a process of its own, with limits on time and memory."""

import asyncio
import io
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from app import PROJECT_DIR
from app.classifier.engine.sandbox import minimal_environment, unprivileged
from app.classifier.heads.process import LENGTH_BYTES, MAX_CPU_SECONDS
from app.domain import ExamplesMissing, TrainingFailed, TrainingInterrupted

MAX_SECONDS: Final = 3600.0
"""The process has the processor only while nothing else wants it, and ends itself after MAX_CPU_SECONDS."""
BASE_MEMORY_BYTES: Final = 512 * 2**20
"""Python, NumPy, and the matrices that do not depend on the number of examples."""
COPIES: Final = 12
"""Copies of the embeddings in single precision that training makes, among them some in double precision."""
MAX_EXAMPLES: Final = 20_000
MAX_PRODUCT: Final = 2_000_000
"""Examples times labels: training takes a few minutes of CPU then."""


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A trained head and what cross-validation says about it."""

    head: bytes
    """What ``Head.from_bytes`` reads."""
    metrics: dict[str, Any]
    """What ``metrics_of`` returns."""
    answers: list[str]
    """The best label of each example in cross-validation."""
    are_other: list[bool]
    """Whether the example was so unlike the others that it got ``other`` instead."""
    confidences: list[float]


async def train_head(
    vectors: Sequence[bytes], labels: Sequence[int], names: Sequence[str], others: Sequence[bytes] = ()
) -> TrainedHead:
    """Train a head on embeddings in half precision. The same examples in the same order give the same head.

    ``others``: embeddings of images that have none of the labels. Raises ExamplesMissing, TrainingFailed if the process
    fails or exceeds a limit, or TrainingInterrupted.
    """
    if len(vectors) > MAX_EXAMPLES:
        raise TrainingFailed(f"A model learns from at most {MAX_EXAMPLES} examples. Delete some.")
    if len(vectors) * len(names) > MAX_PRODUCT:
        raise TrainingFailed(
            f"{len(vectors)} examples of {len(names)} labels are too many: their product may be {MAX_PRODUCT}."
        )
    # In a thread: a second of work for many examples.
    packed = await asyncio.to_thread(_packed, vectors, labels, names, others)
    limit = BASE_MEMORY_BYTES + COPIES * 2 * len(packed) + 8 * 8 * len(vectors) * len(names)
    prefix = await asyncio.to_thread(unprivileged, Path(PROJECT_DIR))
    process = await asyncio.create_subprocess_exec(
        *(*prefix, sys.executable, "-m", "app.classifier.heads.process", str(limit)),
        cwd=PROJECT_DIR,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Ctrl-C in the terminal is for the service, which ends the training.
        start_new_session=True,
        # One thread: results do not depend on the number of cores, and uploads keep theirs.
        env={**minimal_environment(), "PYTHONPATH": str(PROJECT_DIR), "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        async with asyncio.timeout(MAX_SECONDS):
            output, errors = await process.communicate(packed)
    except TimeoutError as error:
        raise TrainingFailed(f"The training took longer than {MAX_SECONDS:g} s.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    if process.returncode == -signal.SIGXCPU:
        raise TrainingFailed(f"The training took more than {MAX_CPU_SECONDS} s of CPU time.")
    if process.returncode < 0:
        raise TrainingInterrupted(f"The training process was ended by signal {-process.returncode}.")
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no reason was given"]
        raise TrainingFailed(f"The training process ended with status {process.returncode}: {last[0]}")
    length = int.from_bytes(output[:LENGTH_BYTES], "little")
    result = json.loads(output[LENGTH_BYTES : LENGTH_BYTES + length])
    if missing := result.get("missing"):
        raise ExamplesMissing(missing)
    head = output[LENGTH_BYTES + length :]
    return TrainedHead(head, result["metrics"], result["answers"], result["are_other"], result["confidences"])


def _packed(vectors: Sequence[bytes], labels: Sequence[int], names: Sequence[str], others: Sequence[bytes]) -> bytes:
    embeddings = (
        np.frombuffer(b"".join(vectors), "<f2").reshape(len(vectors), -1) if vectors else np.zeros((0, 1), "<f2")
    )
    file = io.BytesIO()
    np.savez(
        file,
        embeddings=embeddings,
        labels=np.array(labels, np.int64),
        names=np.array(names),
        others=np.frombuffer(b"".join(others), "<f2").reshape(len(others), embeddings.shape[1]),
    )
    return file.getvalue()
