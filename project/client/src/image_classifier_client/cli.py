"""``imgclass``: classify files and folders from the command line."""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import Any, Final

from image_classifier_client.client import Client, images_in
from image_classifier_client.errors import ClassifierError
from image_classifier_client.results import Prediction

WIDTH: Final = 30
INTERRUPTED: Final = 130
COLUMNS: Final = ["file", "id", "label", "confidence", "model", "model_version", "error"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify, tell each answer, and write a table where one is asked for; 1 where anything went wrong."""
    parser = argparse.ArgumentParser(prog="imgclass", description="Classify images, or folders of them.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an image, or a folder of images")
    parser.add_argument("--url", default=os.environ.get("IMGCLASS_URL", "http://localhost:8004"), help="of the service")
    parser.add_argument("--api-key", default=os.environ.get("IMGCLASS_API_KEY"), help="better set as IMGCLASS_API_KEY")
    parser.add_argument("--model", default="", help="name of a model (default: the service's own)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="images in flight (default: 4)")
    given = parser.parse_args(arguments)
    images: list[Path] = []
    for path in given.paths:
        if not path.exists():
            parser.error(f"there is no {path}")
        images += images_in(path) if path.is_dir() else [path]
    if not images:
        parser.error("there are no images there")
    rows: list[dict[str, Any]] = []
    failed = 0
    try:
        client = Client(given.url, given.api_key)
        with Client(given.url, given.api_key, retries=1) as asking:
            # A service that is not there is told of once, not with every image.
            asking.models()
    except (ValueError, ClassifierError) as error:
        parser.exit(1, f"imgclass: error: {given.url}: {error}\n")
    try:
        # Before anything is done: whether it can be written.
        table = given.csv.open("w", newline="", encoding="utf-8") if given.csv else nullcontext(StringIO())
    except OSError as error:
        parser.error(f"{given.csv} cannot be written: {error.strerror}")
    with table as file, client:
        try:
            for image, found in client.classify_all(images, given.model, at_once=max(1, given.at_once)):
                rows.append(_row(image, found))
                failed += not isinstance(found, Prediction)
                _tell(image, found, len(rows), len(images))
        except KeyboardInterrupt:
            print(f"interrupted after {len(rows)} of {len(images)} images", file=sys.stderr)
            return INTERRUPTED
        finally:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: str(row["file"])))
    if failed:
        print(f"{failed} of {len(images)} images were not classified", file=sys.stderr)
    return 1 if failed else 0


def _row(image: Path, found: Prediction | ClassifierError | OSError) -> dict[str, Any]:
    if not isinstance(found, Prediction):
        return {"file": str(image), "error": str(found)}
    answer = {"label": found.top_prediction, "confidence": found.confidence}
    return {"file": str(image), "id": found.id, **answer, "model": found.model, "model_version": found.model_version}


def _tell(image: Path, found: Prediction | ClassifierError | OSError, done: int, total: int) -> None:
    if sys.stderr.isatty():
        # The line with the bar is written over.
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    if isinstance(found, Prediction):
        print(f"{image}\t{found.top_prediction}\t{found.confidence:.3f}", flush=True)
    else:
        print(f"{image}\terror: {found}", file=sys.stderr)
    if sys.stderr.isatty() and done < total:
        filled = WIDTH * done // total
        print(f"[{'#' * filled}{' ' * (WIDTH - filled)}] {done}/{total}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
