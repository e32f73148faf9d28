"""The limits of the container that this process runs in: Linux control groups, versions 1 and 2."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc/self/cgroup")
ROOT: Final = Path("/sys/fs/cgroup")
UNLIMITED: Final = 2**60
"""Version 1 writes a number near 2**63 for no limit."""


def cpu_limit(proc: Path = PROC, root: Path = ROOT) -> float | None:
    """CPU time per second that the container may use; None: no limit."""
    limits = []
    for folder in _folders("cpu", proc, root):
        # Version 2: "150000 100000" or "max 100000", the quota and the period.
        words = _read(folder / "cpu.max").split()
        if not words:
            words = [_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()]
        if all(word.isdecimal() for word in words) and int(words[1]):
            limits.append(int(words[0]) / int(words[1]))
    return min(limits, default=None)


def memory_limit(proc: Path = PROC, root: Path = ROOT) -> int | None:
    """Bytes of memory that the container may use; None: no limit."""
    limits = []
    for folder in _folders("memory", proc, root):
        text = (_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")).strip()
        if text.isdecimal() and int(text) < UNLIMITED:
            limits.append(int(text))
    return min(limits, default=None)


def memory_kills(proc: Path = PROC, root: Path = ROOT) -> int:
    """How many processes of the container the kernel has killed because its memory was used up."""
    for folder in _folders("memory", proc, root):
        for line in (_read(folder / "memory.events") + _read(folder / "memory.oom_control")).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.isdecimal():
                return int(value)
    return 0


def _folders(controller: str, proc: Path, root: Path) -> Iterator[Path]:
    """The group of this process, and those around it, whose limits apply as well."""
    for line in _read(proc).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top = root if (root / "cgroup.controllers").exists() else root / "unified"
        elif controller in controllers.split(","):
            # "cpu,cpuacct" has a folder of that name, and a link for each part.
            top = root / controller
        else:
            continue
        folder = top / path.lstrip("/")
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        # Not on Linux, or not in a group with this limit.
        return ""
