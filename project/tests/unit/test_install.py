"""uv installs packages from where pip is configured to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import PROJECT_DIR

PROGRAM = "from tools import install; options, environment = install._like_pip(); print(*options); print(environment)"


def uv_options(configuration: str, folder: Path, **environment: str) -> tuple[list[str], str]:
    """What uv gets with a configuration of pip."""
    file = folder / "pip.conf"
    file.write_text(configuration)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**inherited, "PYTHONPATH": str(PROJECT_DIR), "PIP_CONFIG_FILE": str(file), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    options, variables = done.stdout.splitlines()
    return options.split(), variables


def test_uv_gets_the_indexes_and_certificates_of_pip(tmp_path: Path) -> None:
    configuration = """[global]
index-url = https://index.example/simple
extra-index-url =
    https://one.example/simple
    https://two.example/simple
find-links = /wheels
cert = /certificates.pem
"""
    options, variables = uv_options(configuration, tmp_path)
    pairs = set(zip(options[::2], options[1::2], strict=True))
    assert pairs == {
        ("--index-strategy", "unsafe-best-match"),
        ("--default-index", "https://index.example/simple"),
        ("--index", "https://one.example/simple"),
        ("--index", "https://two.example/simple"),
        ("--find-links", "/wheels"),
    }
    assert "'SSL_CERT_FILE': '/certificates.pem'" in variables


@pytest.mark.parametrize("section", ["global", "install"])
def test_environment_takes_precedence_over_files_and_other_commands_do_not_count(section: str, tmp_path: Path) -> None:
    configuration = (
        f"[{section}]\nindex-url = https://file.example/simple\nextra-index-url = https://more.example/simple\n"
        "[download]\nindex-url = https://download.example/simple\n"
    )
    options, _ = uv_options(configuration, tmp_path, PIP_INDEX_URL="https://environment.example/simple")
    assert options.count("--default-index") == 1
    assert "https://environment.example/simple" in options
    assert "https://file.example/simple" not in options
    assert "https://download.example/simple" not in options


def test_sections_of_other_programs_do_not_count(tmp_path: Path) -> None:
    configuration = (
        "[global]\nindex-url = https://one.example/simple\n[my-tool]\nkey = v\nindex-url = https://two.example\n"
    )
    assert uv_options(configuration, tmp_path)[0][2:] == ["--default-index", "https://one.example/simple"]


def test_empty_values_are_not_set(tmp_path: Path) -> None:
    configuration = "[global]\nindex-url = https://one.example/simple\n[install]\nindex-url =\n"
    options, variables = uv_options(configuration, tmp_path, PIP_INDEX_URL="", PIP_CERT="")
    assert options[2:] == ["--default-index", "https://one.example/simple"]
    assert "'SSL_CERT_FILE': ''" not in variables


@pytest.mark.parametrize("name", ["a", "z"])
def test_file_in_the_environment_takes_precedence_over_that_of_the_system_whatever_its_path(
    name: str, tmp_path: Path
) -> None:
    """Newer versions of pip list files by their paths."""
    own, system = tmp_path / name, tmp_path / "m" / "pip"
    for folder in (own, system):
        folder.mkdir(parents=True)
    (system / "pip.conf").write_text("[global]\nindex-url = https://system.example/simple\n")
    configuration = "[global]\nindex-url = https://own.example/simple\n"
    options, _ = uv_options(configuration, own, XDG_CONFIG_DIRS=str(system.parent))
    assert "https://own.example/simple" in options
    assert "https://system.example/simple" not in options


def test_no_index_is_passed_on(tmp_path: Path) -> None:
    assert "--no-index" in uv_options("[global]\nno-index = true\n", tmp_path)[0]
    assert "--no-index" not in uv_options("[global]\nno-index = false\n", tmp_path)[0]
