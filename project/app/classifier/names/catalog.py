"""A model's label names: the file ``labels.json`` in its folder.

It holds ``categories``, each with names by language and perhaps a parent, and ``labels`` in the order of the model's
outputs: the label, an identifier, names by language, synonyms, and the narrowest category. Languages are codes such as
``de``.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from app.domain import CONFIDENCE_DIGITS, CategoryScore

MAX_CATEGORIES: Final = 10
"""Categories of one result."""
MIN_CONFIDENCE: Final = 0.05
"""Categories with less are left out of results."""
MAX_DEPTH: Final = 8
ALTERNATIVES: Final = re.compile(r" (?:or|oder) ")
MIN_WORD: Final = 3
MAX_ENDING: Final = 2
"""Letters of a plural's ending: dogs, boxes, Hunde, Katzen."""

Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")
]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]


class Category(BaseModel):
    """A category: its names by language, and the broader category, if there is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parent: Text | None = None
    names: dict[Language, Text] = {}


class LabelNames(BaseModel):
    """A label: an identifier, such as its WordNet synset, names by language, synonyms, and the narrowest category."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Text
    id: Text | None = None
    names: dict[Language, Text] = {}
    synonyms: list[Text] = []
    category: Text | None = None


class LabelNamesFile(BaseModel):
    """Names and categories of labels, as in the file ``labels.json`` of a model's folder."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "categories": {"animal": {"names": {"de": "Tier"}}, "insect": {"parent": "animal"}},
                    "labels": [{"label": "ant", "names": {"de": "Ameise"}, "category": "insect"}],
                }
            ]
        },
    )

    source: str = Field(default="", description="Where the names come from, and their licence.")
    categories: dict[Text, Category] = {}
    labels: list[LabelNames]

    @model_validator(mode="after")
    def _categories_exist(self) -> Self:
        for name, category in self.categories.items():
            if category.parent is not None and category.parent not in self.categories:
                raise ValueError(f"the category {name!r} has the parent {category.parent!r}, which is not a category")
            chain = list(_chain(name, self.categories))
            if len(set(chain)) < len(chain):
                raise ValueError(f"the category {name!r} is in a circle of categories")
            if len(chain) > MAX_DEPTH:
                raise ValueError(f"the category {name!r} is on a level below {MAX_DEPTH}")
        for entry in self.labels:
            if entry.category is not None and entry.category not in self.categories:
                raise ValueError(f"the label {entry.label!r} has the category {entry.category!r}, which does not exist")
        return self


def words_of(text: str) -> list[str]:
    """The words of a name, in lower case and normal form C."""
    return re.findall(r"\w+", unicodedata.normalize("NFC", text).casefold())


class NamesInvalid(ValueError):
    """Label names that cannot be used. The message says why."""


def _chain(name: str | None, categories: Mapping[str, Category]) -> Iterator[str]:
    """A category and those above it, at most one more than MAX_DEPTH."""
    for _ in range(MAX_DEPTH + 1):
        if name is None:
            return
        yield name
        name = categories[name].parent


@dataclass(frozen=True)
class LabelCatalog:
    """The names and categories of a model's labels, in the order of its outputs."""

    labels: tuple[LabelNames, ...]
    categories: Mapping[str, Category] = field(default_factory=dict)
    source: str = ""

    @classmethod
    def from_json(cls, data: bytes, labels: Sequence[str] | None = None) -> Self:
        """Read a file. ``labels``: of the model; those that the file writes in another way have no names.

        Raises NamesInvalid, also if the file has more or fewer labels than the model.
        """
        try:
            file = LabelNamesFile.model_validate_json(data)
        except ValidationError as error:
            (first, *_) = error.errors()
            place = ".".join(str(part) for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            raise NamesInvalid(f"{place}: {reason}" if place else reason) from error
        if labels is None:
            return cls(tuple(file.labels), file.categories, file.source)
        if len(file.labels) != len(labels):
            raise NamesInvalid(f"it has {len(file.labels)} labels, and the model has {len(labels)}")
        pairs = zip(file.labels, labels, strict=True)
        entries = (entry if entry.label == label else LabelNames(label=label) for entry, label in pairs)
        return cls(tuple(entries), file.categories, file.source)

    @classmethod
    def of_some(cls, data: bytes, labels: Sequence[str]) -> Self:
        """The catalog of labels of which a file, which is valid, has some in any order."""
        file = LabelNamesFile.model_validate_json(data)
        known = {entry.label: entry for entry in file.labels}
        return cls(tuple(known.get(label) or LabelNames(label=label) for label in labels), file.categories, file.source)

    def to_json(self) -> bytes:
        """The file."""
        file = LabelNamesFile(source=self.source, categories=dict(self.categories), labels=list(self.labels))
        return file.model_dump_json(exclude_defaults=True, indent=1).encode()

    def chain(self, category: str | None) -> tuple[str, ...]:
        """A category and those above it, the broadest first."""
        return tuple(_chain(category, self.categories))[::-1]

    @cached_property
    def by_label(self) -> Mapping[str, tuple[LabelNames, ...]]:
        """The entries of each label; a few labels of ImageNet stand for two things."""
        found: dict[str, tuple[LabelNames, ...]] = {}
        for entry in self.labels:
            found[entry.label] = (*found.get(entry.label, ()), entry)
        return found

    def name_of(self, label: str, language: str) -> str | None:
        """What people call a label, in a language or else in English; None if it has no name."""
        names = (entry.names.get(language) or entry.names.get("en") for entry in self.by_label.get(label, ()))
        found = dict.fromkeys(name for name in names if name)
        return " / ".join(found) or None

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        """Labels by what people call them; the first one of those with the same name."""
        found: dict[str, str] = {}
        for entry in self.labels:
            for text in (entry.label.replace("_", " "), *entry.names.values()):
                found.setdefault(text.casefold(), entry.label)
        for entry in self.labels:
            for text in entry.synonyms:
                found.setdefault(text.casefold(), entry.label)
        return found

    def label_named(self, text: str) -> str | None:
        """The label that people call so in any language, or the label itself; None if there is none."""
        return text if text in self.by_label else self._by_name.get(text.casefold())

    def category_name(self, category: str, language: str) -> str:
        """What people call a category, in a language or else in English."""
        names = self.categories[category].names if category in self.categories else {}
        return names.get(language) or names.get("en") or category

    @cached_property
    def _by_word(self) -> Mapping[str, frozenset[str]]:
        """The labels that a word may mean: of their names, synonyms, and categories, in every language."""
        found: dict[str, set[str]] = {}
        for entry in self.labels:
            meanings = {word for text in (*entry.names.values(), *entry.synonyms) for word in words_of(text)}
            for category in self.chain(entry.category):
                for text in (category, *self.categories[category].names.values()):
                    # A boat or ship is both, but not every cat is a big cat.
                    meanings |= {" ".join(words_of(part)) for part in (text, *ALTERNATIVES.split(text))}
            for meaning in meanings:
                found.setdefault(meaning, set()).add(entry.label)
        return {word: frozenset(labels) for word, labels in found.items()}

    def labels_for(self, text: str) -> frozenset[str]:
        """The labels that a word, or the whole name of a category, means.

        Also in the plural: ``dogs`` and ``Hunde`` are all breeds.
        """
        folded = " ".join(words_of(text))
        for form in (folded[: len(folded) - cut] for cut in range(MAX_ENDING + 1)):
            if len(form) >= MIN_WORD and form in self._by_word:
                return self._by_word[form]
        return frozenset()

    def labels_in(self, category: str) -> frozenset[str]:
        """The labels in a category and those below it."""
        return self._by_category.get(category, frozenset())

    def category_named(self, text: str) -> str | None:
        """The category that people call so in any language, or the category itself; None if there is none."""
        if text in self.categories:
            return text
        folded = text.casefold()
        for name, category in self.categories.items():
            if folded in {name.casefold(), *(one.casefold() for one in category.names.values())}:
                return name
        return None

    @cached_property
    def _by_category(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for entry in self.labels:
            for category in self.chain(entry.category):
                found.setdefault(category, set()).add(entry.label)
        return {category: frozenset(labels) for category, labels in found.items()}

    @cached_property
    def _narrowest_first(self) -> tuple[str, ...]:
        return tuple(sorted(self.categories, key=lambda name: -len(self.chain(name))))

    @cached_property
    def _members(self) -> NDArray[np.float32]:
        """Which labels belong to which category: 1 or 0, of shape (categories, labels)."""
        rows = {name: row for row, name in enumerate(self._narrowest_first)}
        members = np.zeros((len(rows), len(self.labels)), np.float32)
        for column, entry in enumerate(self.labels):
            for name in self.chain(entry.category):
                members[rows[name], column] = 1
        return members

    def sums(self, scores: NDArray[np.float32]) -> list[CategoryScore]:
        """The categories of a result, highest confidence first, and the narrower of equal ones first.

        ``scores``: of all labels, of shape (labels,). A category's confidence is the sum of its labels' scores.
        """
        if not self.categories:
            return []
        sums = self._members @ scores
        best = np.argsort(-sums, kind="stable")[:MAX_CATEGORIES]
        return [
            CategoryScore(self._narrowest_first[row], round(min(1.0, float(sums[row])), CONFIDENCE_DIGITS))
            for row in best
            if sums[row] >= MIN_CONFIDENCE
        ]
