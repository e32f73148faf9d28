"""Limits of containers, from files as the kernel writes them."""

from pathlib import Path

import pytest

from app import cgroups

VERSION_2 = "0::/kubepods/pod1\n"
VERSION_1 = "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/docker/a\n0::/docker/a\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "fs"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_limits_of_version_2(proc: Path, root: Path) -> None:
    proc.write_text(VERSION_2)
    write(root, cgroup__controllers="cpu memory\n")
    write(root / "kubepods", cpu__max="max 100000\n", memory__max="1073741824\n")
    write(
        root / "kubepods/pod1",
        cpu__max="150000 100000\n",
        memory__max="max\n",
        memory__events="low 0\noom 3\noom_kill 2\n",
    )
    assert cgroups.cpu_limit(proc, root) == 1.5
    assert cgroups.memory_limit(proc, root) == 2**30
    assert cgroups.memory_kills(proc, root) == 2


def test_limits_of_version_1(proc: Path, root: Path) -> None:
    proc.write_text(VERSION_1)
    write(root / "cpu/docker/a", cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n")
    write(
        root / "memory/docker/a",
        memory__limit_in_bytes="536870912\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    )
    write(root / "memory", memory__limit_in_bytes="9223372036854771712\n")
    assert cgroups.cpu_limit(proc, root) == 0.5
    assert cgroups.memory_limit(proc, root) == 2**29
    assert cgroups.memory_kills(proc, root) == 1


def test_no_limits(proc: Path, root: Path) -> None:
    assert cgroups.cpu_limit(proc, root) is None
    proc.write_text(VERSION_1 + VERSION_2)
    write(root / "cpu/docker/a", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    write(root / "memory", memory__limit_in_bytes="9223372036854771712\n")
    assert cgroups.cpu_limit(proc, root) is None
    assert cgroups.memory_limit(proc, root) is None
    assert cgroups.memory_kills(proc, root) == 0
