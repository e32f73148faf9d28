"""The names and categories of ImageNet's thousand labels, in ``imagenet.json``.

Identifiers and synonyms come from WordNet. The categories follow its hypernyms, shortened to a few levels that people
use (docs/decisions/0044).
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from app.classifier.names.catalog import LabelCatalog

FILE: Final = Path(__file__).with_suffix(".json")
LABELS: Final = 1000


@cache
def imagenet_catalog() -> LabelCatalog:
    """The names of ImageNet's labels, in the order of its classes."""
    return LabelCatalog.from_json(FILE.read_bytes())


def known_catalog(labels: Sequence[str]) -> LabelCatalog | None:
    """ImageNet's names, if these are its labels in its order."""
    if len(labels) != LABELS:
        return None
    catalog = imagenet_catalog()
    return catalog if all(entry.label == label for entry, label in zip(catalog.labels, labels, strict=True)) else None
