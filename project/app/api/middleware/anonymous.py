"""Requests without an API key: which callers may send them (``ALLOW_ANONYMOUS``), and under which host names.

Two ways lead strangers to a service that only listens on loopback: a proxy on the same machine, and DNS rebinding,
where a page's own host name starts to resolve to 127.0.0.1. Both are visible in a request's headers.
"""

import asyncio
import ipaddress
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from starlette.requests import Request

from app.db.crud import api_keys
from app.domain import DatabaseUnavailable, HostNotAllowed
from app.outbound.addresses import is_loopback

FORWARDING_HEADERS: Final = ("forwarded", "via", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip")
FORWARDING_PREFIX: Final = "x-forwarded-"
KEY_CHECK_SECONDS: Final = 1.0
"""How long a process trusts its knowledge whether a valid key exists."""


def allows_anonymous(allow_anonymous: bool | None, host: str) -> bool:
    """Whether a service that listens on ``host`` accepts requests without a key as long as there are no keys."""
    return is_loopback(host) if allow_anonymous is None else allow_anonymous


class AnonymousAccess:
    """Decides on requests without a key, and on host names while such requests are possible."""

    def __init__(self, allow_anonymous: bool | None, allowed_hosts: Collection[str]) -> None:
        """``allow_anonymous``: None allows local callers until a valid key exists. ``allowed_hosts``: in lower case."""
        self._setting = allow_anonymous
        self._allowed_hosts = allowed_hosts
        self._key_exists: bool | None = None
        self._checked_at = 0.0
        self._checking = asyncio.Lock()
        self._refresh_task: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Find out whether a valid key exists; without the database, what was known before remains."""
        with suppress(DatabaseUnavailable):
            await self._any_key()

    def check_open_path(self, request: Request) -> None:
        """As ``allows``, for a path that never needs a key: does not wait for the database, so health checks do not.

        Raises HostNotAllowed.
        """
        is_refreshing = self._refresh_task is not None and not self._refresh_task.done()
        if self._setting is None and self._is_outdated() and not is_refreshing:
            self._refresh_task = asyncio.create_task(self.refresh())
        self._check_host(request)

    def _check_host(self, request: Request) -> None:
        if not self._setting and (self._setting is False or self._key_exists):
            return
        host = host_of(request)
        # Browsers always send a host; only old programs send none.
        if host and not _is_local_name(host) and not self._is_allowed(host):
            raise HostNotAllowed(host)

    async def allows(self, request: Request) -> bool:
        """Whether the request needs no key.

        Raises HostNotAllowed, or DatabaseUnavailable if it is unknown whether keys exist.
        """
        if self._setting is None and await self._any_key():
            return False
        self._check_host(request)
        return _is_local(request) if self._setting is None else self._setting

    async def _any_key(self) -> bool:
        async with self._checking:
            if self._is_outdated():
                try:
                    self._key_exists = await api_keys.any_valid()
                except DatabaseUnavailable:
                    if self._key_exists is None:
                        raise
                self._checked_at = time.monotonic()
        assert self._key_exists is not None
        return self._key_exists

    def _is_outdated(self) -> bool:
        return self._key_exists is None or time.monotonic() >= self._checked_at + KEY_CHECK_SECONDS

    def _is_allowed(self, host: str) -> bool:
        return any(
            allowed in {host, "*"} or (allowed.startswith("*.") and host.endswith(allowed[1:]))
            for allowed in self._allowed_hosts
        )


def host_of(request: Request) -> str:
    """The host that a request names, in lower case and without its port; empty if it names none or several."""
    named = request.headers.getlist("host")
    if len(named) != 1:
        return ""
    host = named[0].strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].rstrip(".") if ":" in host else host.rstrip(".")


def _is_local(request: Request) -> bool:
    """Whether the caller is a program on this machine, as far as the connection and the headers tell."""
    peer = request.client.host if request.client else ""
    was_forwarded = any(name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIX) for name in request.headers)
    return is_loopback(peer) and not was_forwarded and _is_local_name(host_of(request))


def _is_local_name(host: str) -> bool:
    """Whether a host is localhost or an IP address, neither of which another site can take over."""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
