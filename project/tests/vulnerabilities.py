"""Looks up what is known of the faults of all that is installed: ``make audit``. Fails where there are any.

Where the list cannot be reached, that is said, and nothing is checked: code is not at fault when a network is away.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.config import PROJECT_DIR

LOCKS = sorted(path.name for path in PROJECT_DIR.glob("requirements*.txt"))
SECONDS = "10"
UNREACHABLE = ("ConnectionError", "ProxyError", "Timeout", "SSLError", "Could not connect", "connection")


def look_up(lock: str) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None where it cannot reach the list."""
    options = ["--disable-pip", "--require-hashes", "--format=json", "--progress-spinner=off", f"--timeout={SECONDS}"]
    command = [str(Path(sys.executable).with_name("pip-audit")), *options, f"--requirement={lock}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        told = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:200]
        if not any(word in done.stderr for word in UNREACHABLE):
            raise SystemExit(f"error: {lock} cannot be checked: {told}")
        print(f"{lock}: not checked, the list cannot be reached: {told}")
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
