"""Languages of the pages: templates, routes and scripts have English texts, which files in ``languages/`` translate.

A language is one file, named after its code. Its header has the name of the language (``X-Name``).
"""

import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polib
from fastapi import Request

FOLDER: Final = Path(__file__).parent / "languages"
ENGLISH: Final = "en"
PARAMETER: Final = "language"
"""Query parameter that changes the language, and the cookie that keeps it."""
NAME_HEADER: Final = "X-Name"
MAX_ACCEPTED: Final = 20
"""Languages of a request that are considered."""


def mark(text: str) -> str:
    """Mark a text of a route for translation, which happens where it is rendered."""
    return text


MESSAGES: Final = "domain.py"
"""Where messages of errors come from, as the files of translations name it: those of other modules as well."""


@cache
def language_names() -> Mapping[str, str]:
    """The languages of the pages by code, each by its own name."""
    names = {path.stem: polib.pofile(path).metadata[NAME_HEADER] for path in sorted(FOLDER.glob("*.po"))}
    return MappingProxyType({ENGLISH: "English", **names})


@cache
def translations(language: str) -> NullTranslations:
    """Texts of a language; those that it lacks are English."""
    if language == ENGLISH:
        return NullTranslations()
    return GNUTranslations(io.BytesIO(_file(language).to_binary()))


@cache
def _templates(language: str) -> Sequence[tuple[re.Pattern[str], str]]:
    """Messages with values, which are ``{}``, and their translations; the most specific first."""
    if language == ENGLISH:
        return ()
    found = [
        (entry.msgid, entry.msgstr)
        for entry in _file(language).translated_entries()
        if "{}" in entry.msgid and any(place == MESSAGES for place, _ in entry.occurrences)
    ]
    found.sort(key=lambda pair: -len(pair[0]))
    return [(re.compile("(.+?)".join(map(re.escape, text.split("{}"))), re.DOTALL), target) for text, target in found]


def translated_message(message: str, language: str) -> str:
    """A message of the service in a language, also if it contains values, such as a number or what a file is."""
    texts = translations(language)
    if (exact := texts.gettext(message)) != message:
        return exact
    for pattern, target in _templates(language):
        if match := pattern.fullmatch(message):
            return target.format(*map(texts.gettext, match.groups()))
    return message


@cache
def script_texts(language: str) -> Mapping[str, str]:
    """Translations of the texts of scripts, and of messages that these show, by their English texts."""
    if language == ENGLISH:
        return MappingProxyType({})
    texts = {
        entry.msgid: entry.msgstr
        for entry in _file(language).translated_entries()
        if any(place.endswith(".js") or place == MESSAGES for place, _ in entry.occurrences)
    }
    return MappingProxyType(texts)


def _file(language: str) -> polib.POFile:
    return polib.pofile(FOLDER / f"{language}.po")


def language_of(request: Request) -> str:
    """The language of a request: as chosen on a page, or the best of those that its browser accepts."""
    names = language_names()
    for chosen in (request.query_params.get(PARAMETER, ""), request.cookies.get(PARAMETER, "")):
        if chosen in names:
            return chosen
    return _accepted(request.headers.get("accept-language", ""), names)


def _accepted(header: str, names: Mapping[str, str]) -> str:
    """The language with the highest weight (RFC 9110, 12.5.4); the first of those with the same."""
    best, best_weight = ENGLISH, 0.0
    for part in header.split(",")[:MAX_ACCEPTED]:
        name, _, parameter = part.partition(";")
        language = name.strip().lower().partition("-")[0]
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if language in names and weight > best_weight:
            best, best_weight = language, weight
    return best
