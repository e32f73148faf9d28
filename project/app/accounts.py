"""Accounts and privileges of child processes."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """An account by number."""

    uid: int
    gid: int


def setpriv() -> str | None:
    """Path of the command setpriv (util-linux); None if it is missing."""
    return shutil.which("setpriv")


def as_account(account: Account, needed: Sequence[Path], capability: str) -> list[str] | None:
    """The beginning of a command that runs as another account; None if that is not possible.

    ``needed``: files to read and folders to enter. If one of them is closed to other accounts (below /root,
    say), or none is given, the command keeps ``capability``, and no other.
    """
    command = setpriv()
    if command is None:
        return None
    user = [command, f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    only = f"-all,+{capability}"
    capable = [*user, f"--bounding-set={only}", f"--inh-caps={only}", f"--ambient-caps={only}"]
    tests = [argument for path in needed for argument in ("-a", "-x" if path.is_dir() else "-r", str(path))]
    if needed and _succeeds([*user, "--", "test", *tests[1:]]):
        return user
    # The same test would ignore capabilities (access(2)).
    return capable if _succeeds([*capable, "--", "true"]) else None


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, cwd="/", stderr=subprocess.DEVNULL).returncode == 0
