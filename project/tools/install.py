"""Installs pinned requirements, in one line with progress: ``python install.py PYTHON REQUIREMENTS TITLE``.

uv installs them, if this interpreter's environment has it, because it takes a tenth of pip's time. If uv fails, pip
tries again; its output is printed only if it fails, too. Uses the standard library alone: it runs before anything is
installed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

PIP: Final = (sys.executable, "-m", "pip")
INSTALL: Final = ("install", "--require-hashes", "--no-deps")
REQUIREMENT: Final = re.compile(r"^[A-Za-z0-9]", re.MULTILINE)
PIP_FILES: Final = re.compile(r"(\w+):")
"""A line of ``pip config debug`` before the files of a kind."""
PIP_OPTION: Final = re.compile(r"    ([^\s.:]+)\.([^\s:]+): (.*)")
"""A line with an option of a file: section, name, and the first line of the value."""
SECTIONS: Final = ("global", "install")
FILES: Final = ("global", "user", "site", "env")
"""Sections and kinds of files in pip's configuration; later ones win, sections first."""
UV_OPTIONS: Final = {"index-url": "--default-index", "extra-index-url": "--index", "find-links": "--find-links"}


def main(python: str, requirements: str, title: str) -> int:
    """Install the requirements into the environment of ``python``; returns pip's exit status."""
    progress = Progress(title)
    progress.show("")
    if not _with_uv(python, requirements):
        status = _with_pip(python, requirements, progress)
        if status:
            return status
    progress.end()
    return 0


class Progress:
    """One line about an installation; on a terminal, it is updated."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._is_terminal = sys.stderr.isatty()
        if not self._is_terminal:
            print(f"==> {title}", file=sys.stderr, flush=True)

    def show(self, step: str) -> None:
        """Replace what the line says after the title."""
        if self._is_terminal:
            print(f"\r\033[K==> {self._title}{step and ': '}{step}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Finish the line after success."""
        if self._is_terminal:
            print(f"\r\033[K==> {self._title}: done", file=sys.stderr)


def _with_uv(python: str, requirements: str) -> bool:
    """Whether uv installed the requirements."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        return False
    options, environment = _like_pip()
    command = [str(uv), "pip", *INSTALL, "--python", python, "-r", requirements, *options]
    try:
        return subprocess.run(command, env={**os.environ, **environment}, capture_output=True).returncode == 0
    except OSError:
        # It cannot be executed here.
        return False


def _like_pip() -> tuple[list[str], dict[str, str]]:
    """Options and environment that make uv use the indexes and certificates of pip's configuration."""
    # The hashes decide, not the order of the indexes.
    options = ["--index-strategy", "unsafe-best-match"]
    environment = {"UV_SYSTEM_CERTS": "1"}
    for name, value in _pip_options().items():
        if name == "cert":
            environment["SSL_CERT_FILE"] = str(Path(value).expanduser())
        elif name == "no-index":
            options += ["--no-index"] * (value.lower() in {"1", "true", "yes", "on"})
        elif name in UV_OPTIONS:
            for one in value.split():
                options += [UV_OPTIONS[name], one]
    return options, environment


def _pip_options() -> dict[str, str]:
    """The options of pip's configuration that apply to ``pip install``; lines of a value are separated by spaces.

    ``pip config debug`` names the kind of each file; ``pip config list`` of newer versions sorts values by path.
    """
    shown = subprocess.run([*PIP, "config", "debug"], capture_output=True, text=True).stdout
    found: dict[tuple[str, str], dict[str, str]] = {}
    files = name = ""
    values: dict[str, str] = {}
    for line in shown.splitlines():
        if header := PIP_FILES.fullmatch(line):
            files, name = header[1], ""
        elif option := PIP_OPTION.fullmatch(line):
            values, name = found.setdefault((option[1], files), {}), option[2]
            values[name] = option[3]
        elif name in values and line.startswith("    "):
            values[name] += f" {line.strip()}"
    effective: dict[str, str] = {}
    for section in SECTIONS:
        merged: dict[str, str] = {}
        for kind in FILES:
            merged |= found.get((section, kind), {})
        effective |= _set(merged)
    prefix = "PIP_"
    variables = {name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)}
    return effective | _set({name.lower().replace("_", "-"): value for name, value in variables.items()})


def _set(options: dict[str, str]) -> dict[str, str]:
    """Options with a value: for pip, an empty one is not set."""
    return {name: value.strip() for name, value in options.items() if value.strip()}


def _with_pip(python: str, requirements: str, progress: Progress) -> int:
    total = len(REQUIREMENT.findall(Path(requirements).read_text(encoding="utf-8")))
    output: list[str] = []
    done = 0
    options = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
    command = [*PIP, "--python", python, *INSTALL, *options, "-r", requirements]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            output.append(line)
            done += line.startswith(("Collecting ", "Requirement already satisfied: "))
            unpacking = line.startswith("Installing collected packages")
            progress.show("unpacking" if unpacking else f"{done} of {total} packages")
    if pip.returncode:
        print("\n", "".join(output), sep="", end="", file=sys.stderr)
        print("error: pip could not install the packages: see its output above", file=sys.stderr)
    return pip.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:4]))
    except KeyboardInterrupt:
        sys.exit(130)
