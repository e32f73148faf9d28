"""Checks all pinned packages for known vulnerabilities: ``make audit``.

Reports and skips the check if the list cannot be reached: that is no fault of the code.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app import PROJECT_DIR

LOCKS = sorted(path.name for path in PROJECT_DIR.glob("requirements*.txt"))
SECONDS = "10"
UNREACHABLE = ("ConnectionError", "ProxyError", "Timeout", "SSLError", "Could not connect", "connection")


def look_up(lock: str) -> list[dict[str, Any]] | None:
    """pip-audit's report on each package; None if it cannot reach the list."""
    options = ["--disable-pip", "--require-hashes", "--format=json", "--progress-spinner=off", f"--timeout={SECONDS}"]
    command = [str(Path(sys.executable).with_name("pip-audit")), *options, f"--requirement={lock}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        message = (done.stderr.strip().splitlines() or ["no output of pip-audit"])[-1][:200]
        if not any(word in done.stderr for word in UNREACHABLE):
            raise SystemExit(f"error: {lock} cannot be checked: {message}")
        print(f"{lock}: not checked, the list cannot be reached: {message}")
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return found


def main() -> int:
    """Report each lock file; 1 where something is known to be at fault."""
    status = 0
    for lock in LOCKS:
        packages = look_up(lock)
        if packages is None:
            continue
        unknown = [package for package in packages if "skip_reason" in package]
        print(f"{lock}: {len(packages) - len(unknown)} packages checked, {len(unknown)} not on the list")
        if len(unknown) == len(packages):
            print(f"warning: NOTHING of {lock} was checked: this index does not tell of faults")
        for package in packages:
            for fault in package.get("vulns", []):
                status = 1
                mended = ", ".join(fault["fix_versions"]) or "no version yet"
                print(f"error: {package['name']} {package['version']}: {fault['id']}, mended in {mended}: `make lock`")
    return status


if __name__ == "__main__":
    sys.exit(main())
