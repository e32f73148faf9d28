"""The floor: only the service's decoding, resizing and inference in a loop, with one thread per core."""

import argparse
import json
import threading
import time
from pathlib import Path

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model
from benchmarks.client import Outcome, images_in


def floor(classifier: Classifier, images: dict[str, bytes], *, seconds: float, threads: int) -> Outcome:
    """Classify images repeatedly in ``threads`` threads."""
    outcome = Outcome()
    lock = threading.Lock()
    began = time.perf_counter()

    def loop(offset: int) -> None:
        todo = list(images.items())
        latencies, labels = [], {}
        turn = offset
        while (started := time.perf_counter()) < began + seconds:
            name, data = todo[turn % len(todo)]
            labels[name] = classifier.classify(data)[0].label
            latencies.append(time.perf_counter() - started)
            turn += 1
        with lock:
            outcome.latencies += latencies
            outcome.labels |= labels

    workers = [threading.Thread(target=loop, args=(offset * 7,)) for offset in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    outcome.seconds = time.perf_counter() - began
    return outcome


def main() -> None:
    """Warm up, measure, and print the outcome as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    classifier = Classifier(read_model(given.model), given.threads)
    images = images_in(given.images)
    floor(classifier, images, seconds=given.warm_up, threads=given.threads)
    began = time.process_time()
    outcome = floor(classifier, images, seconds=given.seconds, threads=given.threads)
    print(json.dumps({**outcome.as_dict(), "cpu_seconds": time.process_time() - began}))


if __name__ == "__main__":
    main()
