"""Headers about rate limits (draft-ietf-httpapi-ratelimit-headers-10)."""

import math
from collections.abc import Mapping
from typing import Final

from app.domain import RateDecision

WINDOW_SECONDS: Final = 60
UNITS: Final = {"requests": "", "bytes": ';qu="content-bytes"'}


def rate_limit_headers(limits: Mapping[str, RateDecision]) -> dict[str, str]:
    """The limits and what is left of them, by unit (requests, bytes); none without limits."""
    if not limits:
        return {}
    policies = [f'"{name}";q={limit.quota}{UNITS[name]};w={WINDOW_SECONDS}' for name, limit in limits.items()]
    states = [f'"{name}";r={limit.left};t={math.ceil(limit.seconds)}' for name, limit in limits.items()]
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
