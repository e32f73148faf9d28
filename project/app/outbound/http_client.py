"""HTTP requests to addresses that clients supply: never into a private network, unless allowed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

from app import __version__
from app.outbound.addresses import is_public

USER_AGENT: Final = f"image-classifier/{__version__}"
RESOLVERS: Final = 16

NO_CONNECTION: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError)
"""Errors of a request that got no response."""


class AddressNotAllowed(Exception):
    """Requests to this address are not allowed."""


class SafeHttpClient:
    """Makes requests, each on its own connection, so that a server cannot block others."""

    def __init__(self, *, to_private: bool) -> None:
        """``to_private``: allow private addresses."""
        # Created once: loading the CA certificates takes 17 ms.
        self._tls = httpx.create_ssl_context(trust_env=False)
        # Separate threads: a name whose servers do not respond blocks one for as long as the system's resolver waits.
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "names")
        self._to_private = to_private

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str], idle_timeout: float, content: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The response to one request, to be read while inside; redirects are not followed.

        Raises AddressNotAllowed if the host resolves to a private address, one of NO_CONNECTION if there is no
        response. ``idle_timeout``: seconds the connection may be silent; the caller limits the total time.
        """
        parts = urlsplit(url)
        address = await self._resolve(parts)
        # Connects to the address that was checked, under the requested host name: a name that resolves differently the
        # next time has no effect (DNS rebinding).
        host = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        to = parts._replace(netloc=host + port).geturl()
        async with (
            # Ignores proxies in the environment and does not follow redirects: both could reach private addresses.
            httpx.AsyncClient(
                timeout=idle_timeout, trust_env=False, follow_redirects=False, verify=self._tls
            ) as client,
            client.stream(
                method,
                to,
                content=content,
                headers={"Host": parts.netloc, **headers},
                extensions={"sni_hostname": parts.hostname},
            ) as response,
        ):
            yield response

    async def _resolve(self, parts: SplitResult) -> str:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        resolve = partial(socket.getaddrinfo, parts.hostname, port, type=socket.SOCK_STREAM)
        entries = await asyncio.get_running_loop().run_in_executor(self._resolvers, resolve)
        addresses = [str(entry[4][0]) for entry in entries]
        for address in addresses:
            if not (self._to_private or is_public(address)):
                raise AddressNotAllowed(f"{parts.hostname} resolves to the private address {address}.")
        return addresses[0]
