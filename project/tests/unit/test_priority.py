"""Processes that leave the processor to others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import PROJECT_DIR

SHOW = """
import os
from pathlib import Path
from app.classifier.engine.priority import run_only_when_idle
run_only_when_idle()
print(os.sched_getscheduler(0) == os.SCHED_IDLE, os.nice(0))
session = Path("/proc/self/autogroup")
print(session.read_text() if session.exists() else "")
"""


@pytest.fixture
def lines() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=PROJECT_DIR,
        env={**os.environ, "PYTHONPATH": str(PROJECT_DIR)},
        start_new_session=True,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has SCHED_IDLE")
def test_process_runs_only_while_others_are_idle(lines: list[str]) -> None:
    assert lines[0] == "True 19"


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not group sessions")
def test_its_session_has_the_lowest_priority_too(lines: list[str]) -> None:
    # Otherwise, its session would get as much of the processor as the engine's.
    assert lines[1].endswith(" nice 19")
