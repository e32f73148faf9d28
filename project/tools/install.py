"""Installs pinned requirements with pip, in one line with progress: ``python install.py PYTHON REQUIREMENTS TITLE``.

pip's own output is printed only if it fails. Uses the standard library alone: it runs before anything is installed.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

PIP: Final = ("pip", "install", "--require-hashes", "--no-deps", "--disable-pip-version-check", "--no-input")
REQUIREMENT: Final = re.compile(r"^[A-Za-z0-9]", re.MULTILINE)


def main(python: str, requirements: str, title: str) -> int:
    """Install the requirements into the environment of ``python``; returns pip's exit status."""
    total = len(REQUIREMENT.findall(Path(requirements).read_text(encoding="utf-8")))
    is_terminal = sys.stderr.isatty()
    output: list[str] = []
    done = 0
    if not is_terminal:
        print(f"==> {title}", file=sys.stderr, flush=True)
    command = [python, "-m", *PIP, "--progress-bar", "off", "-r", requirements]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            output.append(line)
            done += line.startswith(("Collecting ", "Requirement already satisfied: "))
            if is_terminal:
                step = (
                    "unpacking" if line.startswith("Installing collected packages") else f"{done} of {total} packages"
                )
                print(f"\r\033[K==> {title}: {step}", end="", file=sys.stderr, flush=True)
    if is_terminal:
        print(f"\r\033[K==> {title}{': done' if pip.returncode == 0 else ''}", file=sys.stderr)
    if pip.returncode:
        print("".join(output), end="", file=sys.stderr)
        print("error: pip could not install the packages: see its output above", file=sys.stderr)
    return pip.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:4]))
    except KeyboardInterrupt:
        sys.exit(130)
