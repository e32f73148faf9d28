"""``imgclass-teach``: teach a service your own labels from a folder of folders."""

import argparse
import re
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from image_classifier_client.cli import INTERRUPTED, Delay, add_service_options, describe_error
from image_classifier_client.client import Client, images_in
from image_classifier_client.errors import ClassifierError, Refused
from image_classifier_client.results import CustomModel, Training

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED: Final = {"default"}


def main(
    arguments: Sequence[str] | None = None, *, program: str = "imgclass-teach", url: str = "http://localhost:8004"
) -> int:
    """Create the model if it does not exist, add the examples of a folder, train, and print how good it is.

    ``url``: the address without --url and IMGCLASS_URL. Returns 1 if anything failed.
    """
    parser = argparse.ArgumentParser(
        prog=program, description="Teach the service your own labels: a folder for each label, with its images."
    )
    parser.add_argument("name", metavar="NAME", help="name of the model; created if it does not exist")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of folders, whose names are the labels")
    parser.add_argument("--base", default="", help="model to build on (default: the service's default model)")
    add_service_options(parser, url)
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder")
    if not NAME.fullmatch(options.name) or options.name in RESERVED:
        parser.error(
            f"{options.name!r} cannot be the name of a model: choose up to 64 letters, digits or ._-, but not 'default'"
        )
    images = images_in(options.folder)
    if not any(image.parent != options.folder for image in images):
        parser.error(f"no images found: {options.folder} needs a folder for each label, with its images")
    try:
        with Client(options.url, options.api_key, on_delay=Delay(f"{program}: {options.url}")) as client:
            model = _model(client, options.name, options.base)
            refused = _add(client, model.name, options.folder, len(images))
            training = client.train(model.name)
            model = client.custom_model(model.name)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        parser.exit(1, f"{program}: error: {error.filename}: {error.strerror}\n")
    except (ValueError, ClassifierError) as error:
        parser.exit(1, describe_error(error, program, options.url))
    if training.status == "failed":
        parser.exit(1, f"{program}: error: {training.error}\n")
    _print(model, training)
    return 1 if refused else 0


def _model(client: Client, name: str, base: str) -> CustomModel:
    try:
        model = client.custom_model(name)
    except Refused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return client.create_model(name, base)
    if base and base != model.base:
        raise ValueError(f"{name} is based on {model.base}, not on {base}: choose another name, or leave out --base")
    return model


def _add(client: Client, name: str, folder: Path, total: int) -> int:
    refused = 0
    for done, example in enumerate(client.add_examples(name, folder), 1):
        if example.error:
            refused += 1
            print(f"{example.filename}\terror: {example.error}", file=sys.stderr)
        if sys.stderr.isatty():
            print(f"\r\033[K{done}/{total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)
    return refused


def _print(model: CustomModel, training: Training) -> None:
    metrics = training.metrics
    low, high = metrics["accuracy_interval"]
    print(f"{model.name}: version {training.version}, trained with {metrics['examples']} examples")
    print(f"accuracy\t{metrics['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}, in cross-validation)")
    for label in metrics["labels"]:
        precision = "-" if label["precision"] is None else f"{label['precision']:.1%}"
        print(f"{label['label']}\t{label['examples']} examples, precision {precision}, recall {label['recall']:.1%}")
    false_alarms = metrics["other"]["false_alarms"]
    print(f"other\tfor images unlike all examples; {false_alarms:.1%} of the examples would get it, too")
    if check := metrics.get("check"):
        low, high = check["accuracy_interval"]
        print(f"checks\t{check['accuracy']:.1%} of {check['examples']} images (95 % interval {low:.1%} to {high:.1%})")
    print(f"{'Served' if training.served else 'Not served'}: {training.decision}")
    if training.served:
        print(f"Use it with model={model.name}.")


if __name__ == "__main__":
    sys.exit(main())
