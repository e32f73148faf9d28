"""When a request is made again, and when what became of it is told; the same for both kinds of client."""

import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx

from image_classifier_client.errors import Refused, Unreachable

AGAIN: Final = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
IN_FLIGHT: Final = "idempotency_key_in_flight"
LONGEST_PAUSE: Final = 60.0


@dataclass
class Attempts:
    """So many attempts at one request, each later than the last."""

    left: int
    made: int = 0

    def after_answer(self, response: httpx.Response) -> float | None:
        """Seconds until the next attempt; None where the answer is one to be taken.

        Raises Refused where there is no use in another, Unreachable where there is no other left.
        """
        if response.is_success:
            if "json" not in response.headers.get("content-type", "json"):
                raise Refused(response.status_code, "What answers is not this service: check the address", None)
            return None
        told, code = problem(response)
        if response.status_code not in AGAIN and code != IN_FLIGHT:
            raise Refused(response.status_code, told, code)
        return self._pause(told, response.headers.get("retry-after", ""))

    def after_error(self, error: httpx.TransportError) -> float:
        """Seconds until the next attempt. Raises Unreachable where there is none left."""
        return self._pause(str(error) or type(error).__name__, "")

    def _pause(self, told: str, retry_after: str) -> float:
        if self.left <= 0:
            raise Unreachable(f"{told} ({self.made + 1} attempts)")
        self.left -= 1
        self.made += 1
        # Not all at the same moment.
        longest = float(retry_after) if retry_after.isdecimal() else 0.5 * 2**self.made
        return float(min(longest, LONGEST_PAUSE) * random.uniform(0.8, 1.2))  # noqa: S311 - no secret


def problem(response: httpx.Response) -> tuple[str, str | None]:
    """What an error says in one sentence, and its code."""
    try:
        body: Any = response.json()
    except ValueError:
        body = {}
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list):
        detail = "; ".join(str(entry.get("msg")) for entry in detail)
    return detail or f"The service answered with {response.status_code}", body.get("code") if detail else None
