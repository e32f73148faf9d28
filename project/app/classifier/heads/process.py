"""The process that trains a head: reads examples from its standard input, and writes the head to its standard output.

A separate process with limits on time and memory, because training must not delay uploads, nor end the service. Run as
``python -m app.classifier.heads.process``.
"""

import ctypes
import io
import json
import resource
import signal
import sys
from typing import Any, BinaryIO, Final

import numpy as np

from app.classifier.engine.priority import run_only_when_idle
from app.classifier.heads.metrics import metrics_of
from app.classifier.heads.validation import train
from app.domain import ExamplesMissing

PR_SET_PDEATHSIG: Final = 1
"""prctl(2)"""
MAX_CPU_SECONDS: Final = 600
"""CPU time is limited, since the process may wait for long while all cores are busy."""
LENGTH_BYTES: Final = 8
"""Of the length, little endian, that precedes the JSON of the output; the head follows."""


def run(source: BinaryIO, target: BinaryIO) -> None:
    """Train once. The input is an ``.npz`` file with ``embeddings``, ``labels`` (indexes), ``names`` and ``others``."""
    with np.load(io.BytesIO(source.read()), allow_pickle=False) as file:
        embeddings = file["embeddings"].astype(np.float32)
        labels, names = file["labels"].astype(np.int64), [str(name) for name in file["names"]]
        others = file["others"].astype(np.float32)
    head_bytes = b""
    result: dict[str, Any]
    try:
        head, validation = train(embeddings, labels, names, others)
    except ExamplesMissing as error:
        result = {"missing": error.message}
    else:
        head_bytes = head.to_bytes()
        result = {
            "metrics": metrics_of(labels, names, head, validation),
            "answers": [names[answer] for answer in validation.answers],
            "are_other": (validation.similarities < head.threshold).tolist(),
            "confidences": [round(float(confidence), 4) for confidence in validation.confidences],
        }
    text = json.dumps(result).encode()
    target.write(len(text).to_bytes(LENGTH_BYTES, "little") + text + head_bytes)
    target.flush()


def main() -> None:
    """Train with the lowest priority; the memory limit in bytes is the first argument."""
    run_only_when_idle()
    if sys.platform == "linux":
        # Ends with the service, also if that is killed.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    run(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
