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
PIP_OPTION: Final = re.compile(
    r"^(global|install|:env:)\.(index-url|extra-index-url|find-links|no-index|cert)='(.*)'$", re.MULTILINE
)
"""A line of ``pip config list``: section, option, value."""
PRECEDENCE: Final = ("global", "install", ":env:")
"""Sections of pip's configuration; later ones win."""
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
    configured = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout
    # The hashes decide, not the order of the indexes.
    options = ["--index-strategy", "unsafe-best-match"]
    environment = {"UV_SYSTEM_CERTS": "1"}
    found = sorted(PIP_OPTION.findall(configured), key=lambda line: PRECEDENCE.index(line[0]))
    values = {name: value for _, name, value in found}
    for name, value in values.items():
        if name == "cert":
            environment["SSL_CERT_FILE"] = value
        elif name == "no-index":
            options += ["--no-index"] * (value.lower() in {"1", "true", "yes", "on"})
        else:
            for one in value.replace("\\n", " ").split():
                options += [UV_OPTIONS[name], one]
    return options, environment


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
