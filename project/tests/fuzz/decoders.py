"""Fuzzes inspection, metadata removal and decoding with atheris, starting from the corpus of malformed files.

    python -m tests.fuzz.decoders SECONDS

Ends with another status than 0, and the bytes in a file, where anything but the errors that are meant to be comes up, a
file takes longer than TIME_OUT seconds, or memory grows beyond what an image of so many pixels needs.
"""

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["app.images.preprocessing", "app.images.jpeg", "app.images.metadata"]):
    from app.domain import ImageTooLarge, ImageUnreadable, NotAnImage
    from app.images import inspection, preprocessing

from tests.corpus import corpus

PIXELS = 1_000_000
TIME_OUT = 10
MEMORY_MIB = 2_000
LONGEST = 100_000


def try_one(data: bytes) -> None:
    """Process bytes as the service does, up to the model."""
    try:
        image = inspection.inspect(data, PIXELS)
        preprocessing.to_tensor(inspection.strip_metadata(data, image))
    except (NotAnImage, ImageTooLarge, ImageUnreadable):
        return


def main() -> None:
    """Fuzz for the number of seconds in the arguments."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in corpus():
            if len(data) <= LONGEST:
                (Path(folder) / name).write_bytes(data)
        options = [
            *(sys.argv[0], folder, f"-max_total_time={int(sys.argv[1])}", f"-timeout={TIME_OUT}"),
            *(f"-rss_limit_mb={MEMORY_MIB}", f"-max_len={LONGEST}", "-print_final_stats=1"),
        ]
        atheris.Setup(options, try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
