"""A process whose clock jumps by an hour, back and forth: ``python -m tests.resilience.jumping_clock worker``."""

import sys
import time

from app.cli.main import main

HOUR = 3600.0
PERIOD = 2.0

real_time = time.time


def jumping_time() -> float:
    """The time, every other second an hour later."""
    now = real_time()
    return now + HOUR * (now % PERIOD >= PERIOD / 2)


if __name__ == "__main__":
    time.time = jumping_time
    sys.exit(main(sys.argv[1:]))
