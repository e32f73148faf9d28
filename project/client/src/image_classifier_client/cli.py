"""``imgclass``: classify files and folders from the command line."""

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from io import StringIO
from pathlib import Path
from typing import Any, Final

from image_classifier_client.client import Client, images_in
from image_classifier_client.errors import ClassifierError, Unreachable
from image_classifier_client.results import Prediction

WIDTH: Final = 30
INTERRUPTED: Final = 130
COLUMNS: Final = ["file", "id", "label", "confidence", "model", "model_version", "error"]


def main(
    arguments: Sequence[str] | None = None, *, program: str = "imgclass", url: str = "http://localhost:8004"
) -> int:
    """Classify images, print each result, and optionally write a table; returns 1 if anything failed.

    ``url``: the address without --url and IMGCLASS_URL.
    """
    parser = argparse.ArgumentParser(prog=program, description="Classify images or folders of images.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an image or a folder of images")
    add_service_options(parser, url)
    parser.add_argument("--model", default="", help="name of a model (default: the service's default model)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the results to a CSV file")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="concurrent uploads (default: 4)")
    options = parser.parse_args(arguments)
    images: list[Path] = []
    for path in options.paths:
        if not path.exists():
            parser.error(f"{path} does not exist")
        images += images_in(path) if path.is_dir() else [path]
    if not images:
        parser.error("no images found")
    rows: list[dict[str, Any]] = []
    failed = 0
    try:
        client = Client(options.url, options.api_key, on_delay=Delay(f"{program}: {options.url}"))
        with _closed_on_error(client):
            _check(client, options.model)
    except (ValueError, ClassifierError) as error:
        parser.exit(1, describe_error(error, program, options.url))
    try:
        # Checks that the file is writable before doing anything.
        table = options.csv.open("w", newline="", encoding="utf-8") if options.csv else nullcontext(StringIO())
    except OSError as error:
        client.close()
        parser.error(f"{options.csv} is not writable: {error.strerror}")
    with table as file, client:
        try:
            for image, result in client.classify_all(images, options.model, at_once=max(1, options.at_once)):
                rows.append(_row(image, result))
                failed += not isinstance(result, Prediction)
                _print_result(image, result, len(rows), len(images))
        except KeyboardInterrupt:
            print(f"interrupted after {len(rows)} of {len(images)} images", file=sys.stderr)
            return INTERRUPTED
        finally:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: str(row["file"])))
    if failed:
        print(f"{failed} of {len(images)} images could not be classified", file=sys.stderr)
    return 1 if failed else 0


def add_service_options(parser: argparse.ArgumentParser, url: str) -> None:
    """Options that every command has; ``url``: the address without --url and IMGCLASS_URL."""
    parser.add_argument(
        "--url",
        default=os.environ.get("IMGCLASS_URL", url),
        help=f"address of the service (default: IMGCLASS_URL or {url})",
    )
    parser.add_argument(
        "--api-key", default=os.environ.get("IMGCLASS_API_KEY"), help="API key (better: set IMGCLASS_API_KEY)"
    )


def describe_error(error: Exception, program: str, url: str) -> str:
    """One line that says why the service cannot be used."""
    remedy = ". Start the service, or set --url or IMGCLASS_URL." if isinstance(error, Unreachable) else ""
    return f"{program}: error: {url}: {error}{remedy}\n"


@contextmanager
def _closed_on_error(client: Client) -> Iterator[None]:
    try:
        yield
    except BaseException:
        client.close()
        raise


class Delay:
    """Says once that requests are being repeated."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._is_reported = False

    def __call__(self, reason: str) -> None:
        if not self._is_reported:
            self._is_reported = True
            print(f"{self._subject}: {reason}. Trying again…", file=sys.stderr, flush=True)


def _check(client: Client, wanted: str) -> None:
    """Report an unreachable service or an unknown model once, not for every image. Raises what the client raises."""
    names = [model.name for model in client.models() if model.kind == "image"]
    if wanted and wanted not in names:
        raise ValueError(f"there is no model {wanted}; available: {', '.join(names) or 'none'}")


def _row(image: Path, result: Prediction | ClassifierError | OSError) -> dict[str, Any]:
    if not isinstance(result, Prediction):
        return {"file": str(image), "error": str(result)}
    fields = {"label": result.top_prediction, "confidence": result.confidence}
    return {"file": str(image), "id": result.id, **fields, "model": result.model, "model_version": result.model_version}


def _print_result(image: Path, result: Prediction | ClassifierError | OSError, done: int, total: int) -> None:
    if sys.stderr.isatty():
        # Overwrites the progress bar.
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    if isinstance(result, Prediction):
        print(f"{image}\t{result.top_prediction}\t{result.confidence:.3f}", flush=True)
    else:
        print(f"{image}\terror: {result}", file=sys.stderr)
    if sys.stderr.isatty() and done < total:
        filled = WIDTH * done // total
        print(f"[{'#' * filled}{' ' * (WIDTH - filled)}] {done}/{total}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
