"""Rate limits per API key or address: requests and bytes per minute, concurrent uploads."""

import ipaddress
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from starlette.requests import Request

from app.concurrency import Batcher
from app.config import Settings
from app.db.crud import rate_limits
from app.db.crud.rate_limits import RateRequest
from app.domain import Caller, DatabaseUnavailable, RateDecision, RateLimited

MAX_BATCH: Final = 64
IPV6_SITE: Final = 64
"""Prefix length that identifies a customer's IPv6 network (RFC 6177)."""


class ReceivedBytes:
    """Bytes received for a request: of its body, and of an image that was downloaded for it."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, count: int) -> None:
        """Count more bytes."""
        self.count += count


class RateLimiter:
    """Counts requests in the database, across all processes; does nothing without limits."""

    def __init__(self, settings: Settings) -> None:
        self._max_requests = settings.rate_limit_requests
        self._max_bytes = settings.rate_limit_bytes
        self._max_uploads = settings.max_uploads_each
        self._max_upload_bytes = settings.max_upload_bytes
        self._decide = Batcher(rate_limits.decide, max_items=MAX_BATCH)
        self._active_uploads: Counter[str] = Counter()

    async def count(self, request: Request, subject: str) -> Mapping[str, RateDecision]:
        """Count a request; returns the state of each limit by unit. Raises RateLimited."""
        requests: dict[str, RateRequest] = {}
        if self._max_requests:
            requests["requests"] = RateRequest(f"{subject} requests", 1, self._max_requests)
        if self._max_bytes and _has_body(request):
            size = _size(request, self._max_upload_bytes)
            requests["bytes"] = RateRequest(f"{subject} bytes", size, self._max_bytes)
        decisions = {name: await self._decide(one) for name, one in requests.items()}
        for name, decision in decisions.items():
            if not decision.allowed:
                raise RateLimited(
                    f"More than {decision.quota} {name} per minute: try again later.",
                    math.ceil(decision.seconds),
                    decisions,
                )
        return decisions

    async def settle(self, request: Request, subject: str, received: int) -> None:
        """Replace a request's estimate by the bytes that were received for it: of its body, or by a download."""
        if self._max_bytes:
            estimate = min(_size(request, self._max_upload_bytes), self._max_bytes) if _has_body(request) else 0
            if received != estimate:
                with suppress(DatabaseUnavailable):
                    await rate_limits.adjust(f"{subject} bytes", received - estimate, self._max_bytes)

    @contextmanager
    def uploading(self, request: Request, subject: str) -> Iterator[None]:
        """Count a concurrent upload while inside. Raises RateLimited if there are too many."""
        if not (self._max_uploads and _has_body(request)):
            yield
            return
        if self._active_uploads[subject] >= self._max_uploads:
            raise RateLimited(f"More than {self._max_uploads} concurrent uploads: wait until one is finished.", 1)
        self._active_uploads[subject] += 1
        try:
            yield
        finally:
            self._active_uploads[subject] -= 1
            self._active_uploads = +self._active_uploads


def subject_of(request: Request, caller: Caller | None) -> str:
    """Whose quota a request uses: that of its key, or of its address."""
    if caller is not None and caller.key_id is not None:
        return f"key {caller.key_id}"
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"address {host[:64]}"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return f"address {ipaddress.ip_network((address, IPV6_SITE), strict=False)}"
    return f"address {address}"


def _size(request: Request, default: int) -> int:
    """Declared size of a request; without one, the maximum size of an upload."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else default


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
