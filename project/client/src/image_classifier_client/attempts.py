"""Retries: when a request is repeated, and when its outcome is final; shared by both kinds of client."""

import random
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httpx

from image_classifier_client.errors import Refused, Unreachable

RETRIED: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
IN_FLIGHT: Final = "idempotency_key_in_flight"
UNMIGRATED: Final = "tables_missing"
"""Waiting does not help: the operator has to run a command."""
REPORT_SECONDS: Final = 3.0
"""After which a request that is still being repeated is reported."""
MAX_PAUSE: Final = 60.0
MAX_IN_FLIGHT: Final = 180.0
"""Seconds to wait for an earlier attempt at the same upload, which the service may still be processing."""


@dataclass
class Attempts:
    """A limited number of attempts at one request, with growing pauses."""

    left: int
    made: int = 0
    waited: float = 0.0
    """Seconds waited for earlier attempts, which are not counted."""
    reason: str = ""
    """Why the last attempt failed."""
    started_at: float = field(default_factory=time.monotonic)
    is_reported: bool = False

    def after_response(self, response: httpx.Response) -> float | None:
        """Seconds until the next attempt; None if the response is final.

        Raises Refused if a retry is pointless, Unreachable if no attempts are left.
        """
        if response.is_success:
            if "json" not in response.headers.get("content-type", "json"):
                raise Refused(response.status_code, "This is not the image classifier: check the address", None)
            return None
        message, code = problem(response)
        if code == UNMIGRATED or (response.status_code not in RETRIED and code != IN_FLIGHT):
            raise Refused(response.status_code, message, code)
        retry_after = response.headers.get("retry-after", "")
        if code == IN_FLIGHT and self.waited < MAX_IN_FLIGHT:
            seconds = _randomized(float(retry_after) if retry_after.isdecimal() else 1.0)
            self.waited += seconds
            self.reason = message
            return seconds
        return self._pause(message, retry_after)

    def report_in(self, pause: float) -> float | None:
        """Seconds until the delay should be reported, once, if that is before the end of a pause; otherwise None."""
        seconds = max(0.0, self.started_at + REPORT_SECONDS - time.monotonic())
        if self.is_reported or seconds > pause:
            return None
        self.is_reported = True
        return seconds

    def after_error(self, error: httpx.TransportError) -> float:
        """Seconds until the next attempt. Raises Unreachable if none is left."""
        return self._pause(str(error) or type(error).__name__, "")

    def _pause(self, message: str, retry_after: str) -> float:
        self.reason = message
        if self.left <= 0:
            raise Unreachable(f"{message} ({self.made + 1} attempts)")
        self.left -= 1
        self.made += 1
        return _randomized(float(retry_after) if retry_after.isdecimal() else 0.5 * 2**self.made)


def _randomized(seconds: float) -> float:
    """About that many seconds, so that clients do not retry at the same moment."""
    return float(min(seconds, MAX_PAUSE) * random.uniform(0.8, 1.2))  # noqa: S311 - no secret


def problem(response: httpx.Response) -> tuple[str, str | None]:
    """The message of an error response, and its code."""
    try:
        body: Any = response.json()
    except ValueError:
        body = {}
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list):
        detail = "; ".join(str(entry.get("msg")) for entry in detail)
    elif detail and body.get("reason"):
        detail = f"{detail}. {body['reason']}"
    return detail or f"The service responded with {response.status_code}", body.get("code") if detail else None
