"""Fuzzes a running service with schemathesis: valid and invalid requests for every operation of the contract.

    python -m tests.fuzz.api URL SECONDS

Ends with another status than 0 where an answer is none that the contract has: a status, a schema, a header, or a 500.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

LEFT_OUT: Final = {
    # What a model is called, or which ids there are, no schema says.
    "positive_data_acceptance",
    # It takes what a form lacks for what JSON needs; both are the same operation here.
    "negative_data_rejection",
    # Of what was deleted, who deleted it is kept.
    "use_after_free",
    # With the same Idempotency-Key an upload is answered as the first time, also when it was deleted meanwhile.
    "ensure_resource_availability",
}
STREAMS: Final = ("/events/", "/predictions/{id}/events/")
"""They have no end."""


def command(url: str, seconds: int) -> list[str]:
    """The command that fuzzes the API."""
    return [
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{url}/openapi.json", "--checks", "all", "--exclude-checks", ",".join(sorted(LEFT_OUT))),
        *("--max-time", str(seconds), "--request-timeout", "30", "--no-color"),
        *(option for path in STREAMS for option in ("--exclude-path", path)),
    ]


if __name__ == "__main__":
    sys.exit(subprocess.run(command(sys.argv[1], int(sys.argv[2]))).returncode)
