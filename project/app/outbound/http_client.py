"""HTTP requests to addresses that clients supply: never into a private network, unless allowed."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from itertools import zip_longest
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

from app import __version__
from app.domain import StartupError
from app.outbound.addresses import is_public

USER_AGENT: Final = f"image-classifier/{__version__}"
RESOLVERS: Final = 16
HEAD_START_SECONDS: Final = 0.25
"""Of an address before the next one is tried."""

NO_CONNECTION: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError)
"""Errors of a request that got no response."""


class AddressNotAllowed(Exception):
    """Requests to this address are not allowed."""


class SafeHttpClient:
    """Makes requests, each on its own connection, so that a server cannot block others."""

    def __init__(self, *, to_private: bool) -> None:
        """``to_private``: allow private addresses. Raises StartupError."""
        # Created once: loading the CA certificates takes 17 ms. Honours SSL_CERT_FILE and SSL_CERT_DIR.
        try:
            self._tls = httpx.create_ssl_context()
        except OSError as error:
            raise StartupError(
                f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {error.strerror or error}."
            ) from error
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
        address = await _reachable(await self._resolve(parts), _port(parts))
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

    async def _resolve(self, parts: SplitResult) -> list[str]:
        """Addresses of a host, in the order in which the system prefers them. Raises AddressNotAllowed or OSError."""
        resolve = partial(socket.getaddrinfo, parts.hostname, _port(parts), type=socket.SOCK_STREAM)
        entries = await asyncio.get_running_loop().run_in_executor(self._resolvers, resolve)
        addresses = [str(entry[4][0]) for entry in entries]
        for address in addresses:
            if not (self._to_private or is_public(address)):
                raise AddressNotAllowed(f"{parts.hostname} resolves to the private address {address}.")
        return addresses


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


async def _reachable(addresses: list[str], port: int) -> str:
    """The first address that accepts a connection; of several, each gets a head start (happy eyeballs, RFC 8305).

    Raises OSError if none does.
    """
    if len(addresses) == 1:
        return addresses[0]
    attempts: list[asyncio.Task[str]] = []
    try:
        for address in _alternating(addresses):
            attempts.append(asyncio.create_task(_connect(address, port)))
            running = [attempt for attempt in attempts if not attempt.done()]
            await asyncio.wait(running, timeout=HEAD_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if winner := _winner(attempts):
                return winner
        pending = set(attempts)
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if winner := _winner(attempts):
                return winner
        return attempts[0].result()
    finally:
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)


def _winner(attempts: list[asyncio.Task[str]]) -> str:
    done = [attempt for attempt in attempts if attempt.done() and not attempt.exception()]
    return done[0].result() if done else ""


async def _connect(address: str, port: int) -> str:
    _, writer = await asyncio.open_connection(address, port)
    writer.close()
    return address


def _alternating(addresses: list[str]) -> list[str]:
    """Addresses of both families in turn, beginning with the preferred one."""
    is_preferred = [(":" in address) == (":" in addresses[0]) for address in addresses]
    preferred = [address for address, preferred in zip(addresses, is_preferred, strict=True) if preferred]
    others = [address for address, preferred in zip(addresses, is_preferred, strict=True) if not preferred]
    pairs = zip_longest(preferred, others)
    return [address for pair in pairs for address in pair if address]


def tls_problem(error: BaseException | None) -> str:
    """What is wrong with a server's certificate, as a clause; empty if an error has another cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not valid ({error.verify_message})"
        if isinstance(error, ssl.SSLError):
            return f"TLS failed ({(error.reason or 'unknown reason').lower().replace('_', ' ')})"
        error = error.__cause__ or error.__context__
    return ""
