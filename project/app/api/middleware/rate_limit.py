"""Rate limits per API key or address: requests and bytes per minute, concurrent uploads."""

import ipaddress
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request

from app import rates
from app.coalescing import Batcher
from app.config import Settings
from app.domain import Caller, RateLimited
from app.rates import WINDOW, Left, Use

MAX_BATCH: Final = 64
IPV6_SITE: Final = 64
"""Prefix length that identifies a customer's IPv6 network (RFC 6177)."""
SECONDS: Final = int(WINDOW.total_seconds())


class RateLimiter:
    """Counts requests in the database, across all processes; does nothing without limits."""

    def __init__(self, settings: Settings) -> None:
        self._requests = settings.rate_limit_requests
        self._bytes = settings.rate_limit_bytes
        self._uploads = settings.max_uploads_each
        self._largest = settings.max_upload_bytes
        self._use = Batcher(rates.use, most=MAX_BATCH)
        self._uploading: Counter[str] = Counter()

    async def admit(self, request: Request, subject: str) -> list[tuple[bytes, bytes]]:
        """Count a request; returns the headers about its limits (draft-ietf-httpapi-ratelimit-headers-10).

        Raises RateLimited.
        """
        wishes = []
        if self._requests:
            wishes.append(("requests", Use(f"{subject} requests", 1, self._requests)))
        if self._bytes and _has_body(request):
            wishes.append(("bytes", Use(f"{subject} bytes", _size(request, self._largest), self._bytes)))
        told = [(name, wish, await self._use(wish)) for name, wish in wishes]
        headers = _headers(told)
        for name, wish, left in told:
            if not left.allowed:
                raise RateLimited(
                    f"More than {wish.quota} {name} per minute: try again later.", math.ceil(left.seconds), headers
                )
        return headers

    @contextmanager
    def uploading(self, request: Request, subject: str) -> Iterator[None]:
        """Count a concurrent upload while inside. Raises RateLimited if there are too many."""
        if not (self._uploads and _has_body(request)):
            yield
            return
        if self._uploading[subject] >= self._uploads:
            raise RateLimited(f"More than {self._uploads} concurrent uploads: wait until one is finished.", 1, [])
        self._uploading[subject] += 1
        try:
            yield
        finally:
            self._uploading[subject] -= 1
            self._uploading = +self._uploading


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


def _size(request: Request, largest: int) -> int:
    """Declared size of a request; without one, the maximum size of an upload."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else largest


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _headers(told: list[tuple[str, Use, Left]]) -> list[tuple[bytes, bytes]]:
    if not told:
        return []
    units = {"requests": "", "bytes": ';qu="content-bytes"'}
    policy = ", ".join(f'"{name}";q={wish.quota}{units[name]};w={SECONDS}' for name, wish, _ in told)
    left = ", ".join(f'"{name}";r={one.count};t={math.ceil(one.seconds)}' for name, _, one in told)
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]
