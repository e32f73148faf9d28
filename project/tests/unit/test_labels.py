"""Label files: what is accepted, and which line is wrong."""

import pytest

from app.classifier.labels import MAX_LENGTH, LabelsInvalid, parse_labels

TEXT = "red\nsea green\n青\n"
LABELS = ("red", "sea green", "青")


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        TEXT.replace("\n", "\r").encode(),
        TEXT.rstrip().encode(),
        f"{TEXT}\n \r\n\n".encode(),
        "  red \n\tsea green\n青".encode(),
    ],
    ids=["plain", "BOM", "CRLF", "CR", "no line break", "blank lines at the end", "blanks"],
)
def test_labels_do_not_depend_on_the_program_that_wrote_the_file(data: bytes) -> None:
    assert parse_labels(data) == LABELS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"red\n\nblue\n", "line 2 is empty"),
        (b"\nred\nblue\n", "line 1 is empty"),
        (b"red\ngr\x00een\n", "line 2 contains the control character U+0000"),
        (b"red\ngreen\x00\n", "line 2 contains the control character U+0000"),
        (b"red\n\x1bgreen\n", "line 2 contains the control character U+001B"),
        ("red\ngreen\x85\n".encode(), "line 2 contains the control character U+0085"),
        ("red\n\u200b\n".encode(), "line 2 is empty"),
        ("red\nbl\ufeffue\n".encode(), "line 2 contains the control character U+FEFF"),
        (b"red\n" * 1000, "line 12 repeats the label of line 1, 'red'"),
        (b"red\nblue\nred\n", "line 3 repeats the label of line 1, 'red'"),
        (b"red \r\n red\r\n", "line 2 repeats the label of line 1, 'red'"),
        ("\u00e9t\u00e9\ne\u0301te\u0301\n".encode(), "line 2 repeats the label of line 1"),
        ("red\nété\n".encode("latin-1"), "line 2 is not UTF-8: save the file as UTF-8"),
        ("青\n".encode("shift-jis"), "line 1 is not UTF-8"),
        (TEXT.encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        ("red\nblue\n".encode("utf-16-le"), "line 1 contains the control character U+0000"),
        (TEXT.encode("utf-32"), "it is UTF-32: save it as UTF-8"),
        (b"red\n" + b"x" * (MAX_LENGTH + 1), f"line 2 has {MAX_LENGTH + 1} characters; at most {MAX_LENGTH}"),
    ],
)
def test_error_names_the_line(data: bytes, message: str) -> None:
    with pytest.raises(LabelsInvalid) as raised:
        parse_labels(data)
    assert str(raised.value).startswith(message)


def test_labels_are_in_normal_form_c() -> None:
    assert parse_labels("e\u0301te\u0301\nhiver\n".encode()) == ("\u00e9t\u00e9", "hiver")


def test_imagenets_homonyms_are_accepted() -> None:
    labels = [f"label {n}" for n in range(1000)]
    labels[134] = labels[517] = "crane"
    assert parse_labels("\n".join(labels).encode()) == tuple(labels)
    with pytest.raises(LabelsInvalid):
        parse_labels("\n".join(labels[:999]).encode())
