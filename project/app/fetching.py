"""Images that are fetched from an address of the client's (``image_url``)."""

import asyncio
import logging
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from app.addresses import check_url
from app.domain import ImageNotFetched, UploadTooLarge
from app.log_events import IMAGE_NOT_FETCHED
from app.outgoing import NO_CONNECTION, USER_AGENT, Forbidden, Outgoing

log = logging.getLogger(__name__)

SECONDS: Final = 15.0
"""For all of it: names, redirects and the image."""
MOST_REDIRECTS: Final = 3
HEADERS: Final = {
    "User-Agent": USER_AGENT,
    "Accept": "image/*,*/*;q=0.1",
    # Packed, it could be endless; and images are packed already.
    "Accept-Encoding": "identity",
}


class Fetcher:
    """Fetches images over HTTP. Each address on the way is looked at: no redirect leads where the first may not."""

    def __init__(self, *, from_private: bool) -> None:
        """``from_private``: whether private addresses are allowed."""
        self._outgoing = Outgoing(to_private=from_private)

    async def fetch(self, url: str, most: int) -> tuple[bytes, str]:
        """The bytes at an address, and the file name that its path ends with.

        Raises ImageNotFetched, or UploadTooLarge above ``most`` bytes.
        """
        try:
            async with asyncio.timeout(SECONDS):
                return await self._followed(url, most)
        except Forbidden as error:
            # Who asks need not learn what names of this network lead to.
            log.info(IMAGE_NOT_FETCHED, error)
            raise ImageNotFetched("The address may not be used.") from error
        except TimeoutError as error:
            raise ImageNotFetched(f"The image did not arrive within {SECONDS:.0f} s.") from error
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            raise ImageNotFetched("The connection to the address broke off.") from error
        except NO_CONNECTION as error:
            log.info(IMAGE_NOT_FETCHED, str(error) or type(error).__name__)
            raise ImageNotFetched("There is no connection to the address.") from error

    async def _followed(self, url: str, most: int) -> tuple[bytes, str]:
        for _ in range(MOST_REDIRECTS + 1):
            _check(url)
            async with self._outgoing.stream("GET", url, headers=HEADERS, silence=SECONDS) as response:
                if response.has_redirect_location:
                    url = _joined(url, response.headers["location"])
                    continue
                if response.status_code != httpx.codes.OK:
                    raise ImageNotFetched(f"The address answers with {response.status_code}.")
                return await _read(response, most), _name(url)
        raise ImageNotFetched(f"The address leads to more than {MOST_REDIRECTS} others.")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ImageNotFetched("The address leads to one that cannot be used.") from error


def _check(url: str) -> None:
    try:
        check_url(url)
    except ValueError as error:
        raise ImageNotFetched(f"The address leads to one that cannot be used: {error}.") from error


async def _read(response: httpx.Response, most: int) -> bytes:
    too_large = UploadTooLarge(f"The image at the address is larger than {most} bytes.")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > most:
            raise too_large
    return bytes(data)


def _name(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])
