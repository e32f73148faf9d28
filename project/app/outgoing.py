"""Requests to addresses that clients name: never into a private network, unless that is allowed."""

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
from app.addresses import is_public

USER_AGENT: Final = f"image-classifier/{__version__}"
RESOLVERS: Final = 16

NO_CONNECTION: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError)
"""What a request raises that got no answer."""


class Forbidden(Exception):
    """The address is none that requests may go to."""


class Outgoing:
    """Makes requests, one connection each: nobody is kept waiting by a server's other connections."""

    def __init__(self, *, to_private: bool) -> None:
        """``to_private``: whether private addresses are allowed."""
        # Made once: reading the authorities' certificates takes 17 ms.
        self._tls = httpx.create_ssl_context(trust_env=False)
        # Threads of its own: a name whose servers do not answer holds one up for as long as the system likes.
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "names")
        self._to_private = to_private

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str], silence: float, content: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The answer to one request, to be read while inside; a redirect is an answer.

        Raises Forbidden where the host has a private address, one of NO_CONNECTION where there is no answer.
        ``silence``: seconds that a connection may be silent; the whole is for the caller to limit.
        """
        parts = urlsplit(url)
        address = await self._resolved(parts)
        # To the address that was looked at, under the name that was asked for: a name that leads elsewhere at the
        # next look leads nowhere.
        host = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        to = parts._replace(netloc=host + port).geturl()
        async with (
            # No proxy of the environment's, which could reach what this must not; no redirects, for the same reason.
            httpx.AsyncClient(timeout=silence, trust_env=False, follow_redirects=False, verify=self._tls) as client,
            client.stream(
                method,
                to,
                content=content,
                headers={"Host": parts.netloc, **headers},
                extensions={"sni_hostname": parts.hostname},
            ) as response,
        ):
            yield response

    async def _resolved(self, parts: SplitResult) -> str:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        resolve = partial(socket.getaddrinfo, parts.hostname, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._resolvers, resolve)
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not (self._to_private or is_public(address)):
                raise Forbidden(f"{parts.hostname} leads to a private address, {address}.")
        return addresses[0]
