"""Updates the translations of the pages: ``python -m tools.translations`` adds new texts, and removes unused ones."""

from collections import defaultdict
from pathlib import Path
from typing import Final

import polib
from babel.messages.extract import extract_from_dir

from app import domain
from app.domain import ServiceError
from app.pages.translation import FOLDER

PAGES: Final = FOLDER.parent
METHODS: Final = [("**.html", "jinja2"), ("**.js", "javascript"), ("**.py", "python")]
KEYWORDS: Final = {"_": None, "gettext": None, "ngettext": (1, 2), "mark": None}
Text = tuple[str, str]
"""A text and its plural, which may be empty."""


def texts() -> dict[Text, set[str]]:
    """The texts of templates, scripts and routes, and the messages of errors, each with the files it is in."""
    found: defaultdict[Text, set[str]] = defaultdict(set)
    options = {"**.html": {"newstyle_gettext": "true"}}
    for name, _line, text, _comments, _context in extract_from_dir(PAGES, METHODS, options, KEYWORDS):
        singular, plural = (text, "") if isinstance(text, str) else text[:2]
        found[singular, plural].add(Path(name).as_posix())
    for message in messages():
        found[message, ""].add(Path(domain.__file__).name)
    return dict(found)


def messages() -> list[str]:
    """The messages that errors have by default: the first lines of their docstrings."""
    kinds = [one for one in vars(domain).values() if isinstance(one, type) and issubclass(one, ServiceError)]
    return [(kind.__doc__ or "").splitlines()[0] for kind in kinds if kind is not ServiceError]


def updated(old: polib.POFile) -> polib.POFile:
    """The same translations with the texts of today; new ones are not translated."""
    new = polib.POFile(wrapwidth=140)
    new.header, new.metadata = old.header, old.metadata
    known = {(entry.msgid, entry.msgid_plural): entry for entry in old}
    for (text, plural), files in sorted(texts().items()):
        entry = known.get((text, plural)) or polib.POEntry(
            msgid=text, msgid_plural=plural, msgstr_plural={0: "", 1: ""} if plural else {}
        )
        entry.occurrences = [(file, "") for file in sorted(files)]
        new.append(entry)
    return new


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.po")):
        updated(polib.pofile(str(path))).save(str(path))
