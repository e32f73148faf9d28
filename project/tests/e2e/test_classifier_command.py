"""``./classifier`` in the root of the repository, and the targets of the Makefile that it uses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app import PROJECT_DIR
from tests.conftest import FALLBACK

ROOT = PROJECT_DIR.parent


def run(*command: str | Path, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    # Without the variables that a surrounding make passes on.
    inherited = {name: value for name, value in os.environ.items() if "MAKE" not in name and name != "MFLAGS"}
    return subprocess.run(
        command, cwd=folder, env={**inherited, **environment}, capture_output=True, text=True, timeout=120
    )


def test_it_runs_in_any_folder(tmp_path: Path) -> None:
    completed = run(ROOT / "classifier", "--help", folder=tmp_path)
    assert completed.returncode == 0
    assert completed.stderr == ""
    assert completed.stdout.startswith("usage: classifier ")


def test_it_runs_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "classifier").symlink_to(ROOT / "classifier")
    assert run("./classifier", "--help", folder=tmp_path).returncode == 0


def test_it_passes_on_arguments_with_spaces_and_the_exit_status(tmp_path: Path) -> None:
    completed = run(ROOT / "classifier", "restore", "no such file.tar", folder=tmp_path, DATA_DIR=str(tmp_path))
    assert completed.returncode == 1
    assert completed.stderr == "error: no such file.tar does not exist.\n"


def test_classify_has_the_options_of_the_client(tmp_path: Path) -> None:
    completed = run(ROOT / "classifier", "classify", "--help", folder=tmp_path)
    assert completed.stdout.startswith("usage: classifier classify ")
    assert "--csv FILE" in completed.stdout


@pytest.fixture
def clean_checkout(tmp_path: Path) -> Path:
    """A copy of the files that ``./classifier`` needs to set up an environment, which does not exist yet."""
    checkout = tmp_path / "checkout"
    (checkout / "project").mkdir(parents=True)
    for name in ("classifier", "Makefile"):
        shutil.copy(ROOT / name, checkout)
    for path in PROJECT_DIR.glob("requirements*.txt"):
        shutil.copy(path, checkout / "project")
    shutil.copytree(PROJECT_DIR / "tools", checkout / "project" / "tools")
    return checkout


def test_without_a_usable_python_it_says_so_in_one_line(clean_checkout: Path) -> None:
    old = clean_checkout / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.8.0"\nexit 1\n')
    old.chmod(0o755)
    completed = run("./classifier", "doctor", folder=clean_checkout, PYTHON=str(old))
    assert completed.returncode != 0
    assert completed.stdout == ""
    assert completed.stderr == (
        f"error: Python 3.11, 3.12, 3.13 or 3.14 is required, {old} is Python 3.8.0: set PYTHON=python3.x\n"
    )


def test_make_model_does_nothing_if_the_model_exists(models_dir: Path) -> None:
    completed = run("make", "model", f"MODEL={FALLBACK}", folder=ROOT, MODELS_DIR=str(models_dir))
    assert completed.returncode == 0
    assert completed.stdout == ""
    assert completed.stderr == ""


def test_make_model_fails_in_one_line_without_noise_from_make(tmp_path: Path) -> None:
    completed = run("make", "model", "MODEL=../x", folder=ROOT, MODELS_DIR=str(tmp_path))
    assert completed.returncode != 0
    assert "***" not in completed.stderr
    assert completed.stderr.count("\n") == 1
