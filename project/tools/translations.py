"""Updates the translations of the pages: ``python -m tools.translations`` adds new texts, and removes unused ones."""

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import polib
from babel.messages.extract import extract_from_dir

from app import domain
from app.domain import ServiceError
from app.images import identify
from app.pages.translation import FOLDER

PAGES: Final = FOLDER.parent
METHODS: Final = [("**.html", "jinja2"), ("**.js", "javascript"), ("**.py", "python")]
KEYWORDS: Final = {"_": None, "gettext": None, "ngettext": (1, 2), "mark": None}
FOR_OPERATORS: Final = {"StartupError", "ModelBroken", "EngineFailed"}
"""Errors whose messages only operators see."""
OTHER_ERRORS: Final = {"PredictionError", "HTTPException", "validation_error", "cls"}
FOR_PEOPLE: Final = {"pydantic_custom.py", "example_body.py"}
"""Modules whose invalid values people type."""
WORDS: Final = re.compile(r"\b[A-Za-z]+\b")
MIN_WORDS: Final = 2
"""Of a message; others are codes and names."""
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


def messages() -> set[str]:
    """The messages of errors that people may see on a page; values in them are ``{}``."""
    kinds = {
        name: one
        for name, one in vars(domain).items()
        if isinstance(one, type) and issubclass(one, ServiceError) and one is not ServiceError
    }
    # By default, the first lines of their docstrings.
    found = {(kind.__doc__ or "").splitlines()[0] for kind in kinds.values()}
    found |= identify.kinds() | set(identify.SENTENCES)
    raised = (kinds.keys() - FOR_OPERATORS) | OTHER_ERRORS
    for path in PAGES.parent.rglob("*.py"):
        names = raised | {"ValueError"} if path.name in FOR_PEOPLE else raised
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
                values = [*node.args, *(keyword.value for keyword in node.keywords)]
                found |= {text for value in values if len(WORDS.findall(text := _template(value))) >= MIN_WORDS}
    return found


def _template(value: ast.expr) -> str:
    """A text of the source; empty if it is none."""
    if isinstance(value, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in value.values)
        return "".join(str(part) for part in parts)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


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
