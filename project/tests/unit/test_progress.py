"""Progress of long commands."""

import pytest

from app.cli.progress import Progress


def test_progress_is_printed_after_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(interval=0)("images", 120_000, 1_000_000)
    assert capsys.readouterr().err == "images: 120000 of 1000000 (12 %)\n"


def test_short_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(interval=60)("images", 1, 2)
    assert capsys.readouterr().err == ""
