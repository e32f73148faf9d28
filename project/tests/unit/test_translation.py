"""Translations of the pages are complete, and fit their texts."""

import re

import polib
import pytest

from app.pages.translation import ENGLISH, FOLDER, language_names, script_texts, translated_message, translations
from tools.translations import texts, updated

LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.po"))


def catalog(language: str) -> polib.POFile:
    return polib.pofile(str(FOLDER / f"{language}.po"))


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)s|\{\}", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    known = {(entry.msgid, entry.msgid_plural) for entry in catalog(language) if entry.translated()}
    assert texts().keys() - known == set(), "translate them in the file that `python -m tools.translations` updates"


@pytest.mark.parametrize("language", LANGUAGES)
def test_file_is_up_to_date(language: str) -> None:
    current = catalog(language)
    assert [str(entry) for entry in updated(current)] == [str(entry) for entry in current]


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_same_values_as_their_texts(language: str) -> None:
    for entry in catalog(language):
        singular, *others = entry.msgstr_plural.values() or [entry.msgstr]
        pairs = [(singular, entry.msgid), *((text, entry.msgid_plural) for text in others)]
        for text, original in pairs:
            assert placeholders(text) == placeholders(original), entry.msgid
            assert text.count("%%") == original.count("%%"), entry.msgid


def test_texts_include_those_of_templates_scripts_and_errors() -> None:
    files = {file for found in texts().values() for file in found}
    assert {"templates/base.html", "static/page.js", "static/review.js", "statistics.py", "domain.py"} <= files


def test_languages_are_named_in_their_own_words() -> None:
    assert language_names() == {"en": "English", "de": "Deutsch"}


def test_english_texts_are_those_of_the_templates() -> None:
    assert translations(ENGLISH).gettext("History") == "History"
    assert script_texts(ENGLISH) == {}


@pytest.mark.parametrize(
    ("message", "german"),
    [
        ("Prediction not found", "Diese Klassifizierung gibt es nicht"),
        ("There is no custom model named 'x'.", "Es gibt kein eigenes Modell namens 'x'."),
        (
            "This is a PDF document. Accepted are JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF.",
            "Das ist ein PDF-Dokument. Erlaubt sind JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC und AVIF.",
        ),
        (
            "This is a camera's raw file: convert it to JPEG first.",
            "Das ist eine Rohdatei einer Kamera: wandeln Sie sie zuerst in JPEG um.",
        ),
        (
            "The image has 5 x 70000 pixels; the limit for a side is 65535.",
            "Das Bild hat 5 x 70000 Pixel; eine Seite darf höchstens 65535 haben.",
        ),
        ("There is no custom model named '{} %s\n'.", "Es gibt kein eigenes Modell namens '{} %s\n'."),
        ("Something else happened: 7", "Something else happened: 7"),
    ],
)
def test_messages_with_values_are_translated(message: str, german: str) -> None:
    assert translated_message(message, "de") == german
    assert translated_message(message, ENGLISH) == message


def test_scripts_get_their_own_texts_and_the_messages_that_they_show() -> None:
    german = script_texts("de")
    assert german["Uploading…"] == "Wird hochgeladen …"
    assert german["Prediction not found"] == "Diese Klassifizierung gibt es nicht"
    assert "Confusion matrix" not in german
