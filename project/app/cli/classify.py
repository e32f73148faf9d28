"""``classifier classify``: the client's command, for images and folders."""

import argparse
from collections.abc import Sequence

from app.config import Settings

NAME = "classify"


def run(arguments: Sequence[str]) -> int:
    """Classify images and folders with a running service, by default the one on PORT of this machine."""
    from image_classifier_client.cli import main

    return main(arguments, program=f"classifier {NAME}", url=f"http://localhost:{Settings().port}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """List the command; the client parses its options, because other environments lack its packages."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="run `classifier classify --help`")
