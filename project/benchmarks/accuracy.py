"""Accuracy on labelled images and time per image on one thread: ``make accuracy``."""

import argparse
import csv
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.classifier.image_classifier import Classifier
from app.classifier.manifest import read_model
from app.domain import ServiceError
from benchmarks.machine import machine

ROUNDS: Final = 5
"""Repetitions for each image and model: enough for stable quartiles, and 40 images take seconds."""


@dataclass(slots=True)
class Found:
    """Results of one model: correct first labels, correct among five, equal to the first model, and milliseconds."""

    first: int = 0
    five: int = 0
    same: int = 0
    taken: list[float] = field(default_factory=list)


def labelled(folder: Path) -> dict[str, str]:
    """The label of each image, by its file name: ``labels.csv`` with the columns ``file`` and ``label``.

    Raises OSError where a file is missing, and ValueError where a column is.
    """
    with (folder / "labels.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        if not {"file", "label"} <= set(rows.fieldnames or []):
            raise ValueError(f"{file.name} should have the columns file and label.")
        labels = {row["file"]: row["label"] for row in rows}
    if missing := [name for name in labels if not (folder / name).is_file()]:
        raise ValueError(f"{file.name} names {missing[0]}, which is not in {folder}.")
    return labels


def compare(classifiers: dict[str, Classifier], folder: Path, labels: dict[str, str]) -> dict[str, Found]:
    """Run every model on every image in turn, so that a slow moment of the machine affects all models."""
    found = {name: Found() for name in classifiers}
    for turn in range(ROUNDS):
        for file, label in labels.items():
            data = (folder / file).read_bytes()
            reference = ""
            for name, classifier in classifiers.items():
                began = time.perf_counter()
                said = [score.label for score in classifier.classify(data)]
                found[name].taken.append(1000 * (time.perf_counter() - began))
                reference = reference or said[0]
                if turn == 0:
                    found[name].first += said[0] == label
                    found[name].five += label in said
                    found[name].same += said[0] == reference
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy")
    parser.add_argument("--images", type=Path, required=True, help="folder of images with labels.csv (file, label)")
    parser.add_argument("--half", type=int, choices=[0, 1], help="every other image only, from this one on")
    parser.add_argument("models", type=Path, nargs="+", help="models' folders; the first is the reference")
    given = parser.parse_args()
    try:
        classifiers = {str(folder): Classifier(read_model(folder), threads=1) for folder in given.models}
        labels = labelled(given.images)
        if given.half is not None:
            labels = dict(list(labels.items())[given.half :: 2])
        found = compare(classifiers, given.images, labels)
    except (ServiceError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"| of {len(labels)} images | top-1 | top-5 | first label as the first model's | ms |")
    print("| --- | --- | --- | --- | --- |")
    for name, one in found.items():
        low, middle, high = statistics.quantiles(one.taken, n=4)
        message = f"{middle:.1f} ({low:.1f} to {high:.1f})"
        print(f"| {name} | {one.first} | {one.five} | {one.same} | {message} |")
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
