"""Downloads images from URLs that clients supply (``image_url``)."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from app.domain import ImageNotFetched, UploadTooLarge
from app.observability.log_events import IMAGE_NOT_FETCHED
from app.outbound.addresses import check_url
from app.outbound.http_client import NO_CONNECTION, USER_AGENT, AddressNotAllowed, SafeHttpClient, tls_problem

log = logging.getLogger(__name__)

SECONDS: Final = 15.0
"""Time limit for everything: name resolution, redirects and the image."""
MAX_REDIRECTS: Final = 3
HEADERS: Final = {
    "User-Agent": USER_AGENT,
    "Accept": "image/*,*/*;q=0.1",
    # A compressed body could be endless, and images are compressed already.
    "Accept-Encoding": "identity",
}


class ImageDownloader:
    """Downloads images over HTTP and checks the address of each redirect."""

    def __init__(self, *, from_private: bool) -> None:
        """``from_private``: allow private addresses."""
        self._http = SafeHttpClient(to_private=from_private)

    async def download(
        self, url: str, max_bytes: int, on_received: Callable[[int], None] | None = None
    ) -> tuple[bytes, str]:
        """The bytes at a URL, and the file name at the end of its path. ``on_received``: gets the size of each piece.

        Raises ImageNotFetched, or UploadTooLarge above ``max_bytes`` bytes.
        """
        try:
            async with asyncio.timeout(SECONDS):
                return await self._follow(url, max_bytes, on_received)
        except AddressNotAllowed as error:
            # Clients must not learn which private addresses names resolve to.
            log.info(IMAGE_NOT_FETCHED, error)
            raise ImageNotFetched("This address is not allowed.") from error
        except TimeoutError as error:
            raise ImageNotFetched(f"The download took longer than {SECONDS:.0f} s.") from error
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            raise ImageNotFetched("The connection was closed during the download.") from error
        except NO_CONNECTION as error:
            log.info(IMAGE_NOT_FETCHED, str(error) or type(error).__name__)
            problem = tls_problem(error)
            raise ImageNotFetched(
                f"The connection failed: {problem}." if problem else "The connection failed."
            ) from error

    async def _follow(self, url: str, max_bytes: int, on_received: Callable[[int], None] | None) -> tuple[bytes, str]:
        for _ in range(MAX_REDIRECTS + 1):
            _check(url)
            async with self._http.stream("GET", url, headers=HEADERS, idle_timeout=SECONDS) as response:
                if response.has_redirect_location:
                    url = _redirect_target(url, response.headers["location"])
                    continue
                if response.status_code != httpx.codes.OK:
                    raise ImageNotFetched(f"The server responded with {response.status_code}.")
                return await _read(response, max_bytes, on_received), _filename(url)
        raise ImageNotFetched(f"The server redirected more than {MAX_REDIRECTS} times.")


def _redirect_target(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ImageNotFetched("The server redirected to an invalid URL.") from error


def _check(url: str) -> None:
    try:
        check_url(url)
    except ValueError as error:
        raise ImageNotFetched(f"The server redirected to an invalid URL: {error}.") from error


async def _read(response: httpx.Response, max_bytes: int, on_received: Callable[[int], None] | None) -> bytes:
    too_large = UploadTooLarge.above(max_bytes, "image")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if on_received:
            on_received(len(chunk))
        if len(data) > max_bytes:
            raise too_large
    return bytes(data)


def _filename(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])
