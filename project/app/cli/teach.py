"""``classifier teach``: the client's command that teaches a running service labels from a folder of folders."""

import argparse
from collections.abc import Sequence

from app.config import Settings

NAME = "teach"


def run(arguments: Sequence[str]) -> int:
    """Teach a running service, by default the one on PORT of this machine."""
    from image_classifier_client.teach import main

    return main(arguments, program=f"classifier {NAME}", url=f"http://localhost:{Settings().port}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """List the command; the client parses its options, because other environments lack its packages."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="run `classifier teach --help`")
