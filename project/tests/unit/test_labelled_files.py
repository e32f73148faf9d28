"""Labels become names of folders that are safe on every system."""

import pytest

from app.api.labelled_files import folder_name


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("tiger cat", "tiger cat"),
        ("Käse 猫", "Käse 猫"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("a\\b:c*d?", "a%5Cb%3Ac%2Ad%3F"),
        ("50%", "50%25"),
        ("CON", "%43ON"),
        ("nul.txt", "%6Eul.txt"),
        ("console", "console"),
        ("ends. ", "ends.%20"),
        ("-x", "%2Dx"),
        ("=1+1", "%3D1+1"),
        ("a\nb", "a%0Ab"),
        ("Labels.csv", "%4Cabels.csv"),
        ("labels", "labels"),
    ],
)
def test_labels_become_safe_folder_names(label: str, name: str) -> None:
    assert folder_name(label) == name


def test_long_labels_become_different_folder_names() -> None:
    names = {folder_name("猫" * 254 + end) for end in "ab"}
    assert len(names) == 2
    assert all(len(name.encode()) <= 255 for name in names)
