"""Label files: UTF-8 text with one label per line, in the order of a network's outputs."""

import codecs
import re
import unicodedata
from functools import lru_cache
from typing import Final

MAX_LENGTH: Final = 255
"""Characters of a label, as in corrections."""
WITH_HOMONYMS: Final = (1000, 1001)
MAX_HOMONYMS: Final = 10
"""ImageNet's labels, also with "background", contain a few twice: a crane is a bird, and a machine."""
_BOMS: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_INVISIBLE: Final = frozenset(("Cf", "Zl", "Zp", "Zs"))
"""Categories of characters that show nothing by themselves."""


class LabelsInvalid(ValueError):
    """A label file that cannot be used. The message names the line and the reason: ``line 2 is empty``."""


def decode_text(data: bytes) -> str:
    """UTF-8 text, with or without a byte order mark. Raises LabelsInvalid."""
    for mark, encoding in _BOMS.items():
        if data.startswith(mark):
            raise LabelsInvalid(f"it is {encoding}: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LabelsInvalid(f"line {line} is not UTF-8: save the file as UTF-8") from error


# Cached: a start parses the labels of the default model three times, 2 ms each.
@lru_cache(maxsize=16)
def parse_labels(data: bytes) -> tuple[str, ...]:
    """The labels of a file in normal form C, without blanks around them and without blank lines at the end.

    Raises LabelsInvalid for other encodings, control characters, empty or too long labels, and labels that occur twice.
    """
    lines = re.split(r"\r\n|\r|\n", decode_text(data))
    while lines and not lines[-1].strip():
        lines.pop()
    first_lines: dict[str, int] = {}
    repeated = 0
    labels = []
    for number, line in enumerate(lines, 1):
        if control := _CONTROL.search(line):
            raise LabelsInvalid(f"line {number} contains the control character U+{ord(control[0]):04X}")
        label = unicodedata.normalize("NFC", line.strip())
        if all(unicodedata.category(character) in _INVISIBLE for character in label):
            raise LabelsInvalid(f"line {number} is empty")
        if len(label) > MAX_LENGTH:
            raise LabelsInvalid(f"line {number} has {len(label)} characters; at most {MAX_LENGTH} are allowed")
        first = first_lines.setdefault(label, number)
        repeated += first != number
        if first != number and (len(lines) not in WITH_HOMONYMS or repeated > MAX_HOMONYMS):
            raise LabelsInvalid(f"line {number} repeats the label of line {first}, {label!r}")
        labels.append(label)
    return tuple(labels)
