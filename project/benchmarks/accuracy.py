"""How often models are right about labelled pictures, and how long they take on one thread: ``make accuracy``."""

import argparse
import csv
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from app.classifier import Classifier
from app.domain import ModelBroken
from app.manifest import read_model
from benchmarks.machine import machine

ROUNDS = 5


@dataclass(slots=True)
class Found:
    """What one model said: right with its first label, with one of its five, like the first model; and milliseconds."""

    first: int = 0
    five: int = 0
    same: int = 0
    taken: list[float] = field(default_factory=list)


def labelled(folder: Path) -> dict[str, str]:
    """The label of each picture, by its file name: ``labels.csv`` with the columns ``file`` and ``label``."""
    with (folder / "labels.csv").open() as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


def compare(classifiers: dict[str, Classifier], folder: Path, pictures: dict[str, str]) -> dict[str, Found]:
    """Ask every model about every picture, in turn, so that a slow moment of the machine strikes all of them."""
    found = {name: Found() for name in classifiers}
    for turn in range(ROUNDS):
        for file, label in pictures.items():
            data = (folder / file).read_bytes()
            reference = ""
            for name, classifier in classifiers.items():
                began = time.perf_counter()
                labels = [score.label for score in classifier.classify(data)]
                found[name].taken.append(1000 * (time.perf_counter() - began))
                reference = reference or labels[0]
                if turn == 0:
                    found[name].first += labels[0] == label
                    found[name].five += label in labels
                    found[name].same += labels[0] == reference
    return found


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy")
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures with labels.csv (file, label)")
    parser.add_argument("--half", type=int, choices=[0, 1], help="every other picture only, from this one on")
    parser.add_argument("models", type=Path, nargs="+", help="models' folders; the first is the reference")
    given = parser.parse_args()
    try:
        classifiers = {str(folder): Classifier(read_model(folder), threads=1) for folder in given.models}
        pictures = labelled(given.images)
    except (ModelBroken, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if given.half is not None:
        pictures = dict(list(pictures.items())[given.half :: 2])
    print(f"| of {len(pictures)} pictures | top-1 | top-5 | first label as the first model's | ms |")
    print("| --- | --- | --- | --- | --- |")
    for name, one in compare(classifiers, given.images, pictures).items():
        low, middle, high = statistics.quantiles(one.taken, n=4)
        told = f"{middle:.1f} ({low:.1f} to {high:.1f})"
        print(f"| {Path(name).name} | {one.first} | {one.five} | {one.same} | {told} |")
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
