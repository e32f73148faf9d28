"""Sending webhooks, signed as Standard Webhooks (standardwebhooks.com) has it, and never into a private network."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

from app import __version__, deliveries
from app.deliveries import Outcome
from app.domain import PredictionNotFound, Status
from app.models.pydantic import PredictionRead
from app.models.tortoise import Delivery, Prediction

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 10.0
RESOLVERS: Final = 16
GONE: Final = 410
"""Who answers so wants to hear no more."""


IPV6: Final = 6
GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
TUNNELS: Final = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))
"""6to4 and Teredo."""


class Forbidden(Exception):
    """The address is none that webhooks may go to."""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: HMAC-SHA256 of id, time and body, in base64. ``secret``: ``whsec_…``."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def payload(prediction: Prediction) -> bytes:
    """What a webhook says: the kind of event, when it happened, and the whole resource."""
    read = PredictionRead.of(prediction)
    ended = "succeeded" if prediction.status == Status.SUCCEEDED else "failed"
    data = json.loads(read.model_dump_json())
    return json.dumps({"type": f"prediction.{ended}", "timestamp": data["completed_at"], "data": data}).encode()


class Sender:
    """Makes attempts at webhooks, one connection each: nobody is kept waiting by a receiver's other connections."""

    def __init__(self, secret: str, *, to_private: bool) -> None:
        """``to_private``: whether private addresses are allowed."""
        self._secret = secret
        # Made once: reading the authorities' certificates takes 17 ms.
        self._tls = httpx.create_ssl_context(trust_env=False)
        # Threads of its own: a name whose servers do not answer holds one up for as long as the system likes.
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "webhook-names")
        self._to_private = to_private

    async def attempt(self, delivery: Delivery) -> None:
        """Make one attempt at a webhook that was claimed, and note what it came to. Raises DatabaseUnavailable."""
        try:
            prediction = await deliveries.told_of(delivery)
        except PredictionNotFound:
            return
        if prediction.status not in {Status.SUCCEEDED, Status.FAILED}:
            await deliveries.postpone(delivery)
            return
        body = payload(prediction)
        outcome = await self._send(delivery, body)
        pause = await deliveries.write(delivery, outcome)
        if outcome.error:
            log.info("Webhook %d, attempt %d: %s; next: %s", delivery.id, delivery.attempts, outcome.error, pause)

    async def _send(self, delivery: Delivery, body: bytes) -> Outcome:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._post(delivery.url, f"msg_{delivery.id}", body)
        except Forbidden as error:
            # Who may read it need not learn what names of this network lead to.
            log.info("Webhook %d is not sent: %s", delivery.id, error)
            return Outcome(None, "The address may not be used.")
        except TimeoutError:
            return Outcome(None, f"No answer within {TIMEOUT_SECONDS:.0f} s.")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            log.info("Webhook %d has no connection: %s", delivery.id, str(error) or type(error).__name__)
            return Outcome(None, "There is no connection to the address.")
        if httpx.codes.is_success(status):
            return Outcome(status)
        return Outcome(status, f"Answered with {status}.", for_good=status == GONE)

    async def _post(self, url: str, message_id: str, body: bytes) -> int:
        parts = urlsplit(url)
        address = await self._resolved(parts)
        timestamp = int(time.time())
        headers = {
            # To the address that was looked at, under the name that was asked for: a name that leads elsewhere at the
            # next look leads nowhere.
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "User-Agent": f"image-classifier/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, message_id, timestamp, body),
        }
        host = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        to = parts._replace(netloc=host + port).geturl()
        async with (
            # No proxy of the environment's, which could reach what this must not; no redirects, for the same reason.
            httpx.AsyncClient(
                timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=False, verify=self._tls
            ) as client,
            client.stream(
                "POST", to, content=body, headers=headers, extensions={"sni_hostname": parts.hostname}
            ) as response,
        ):
            # What the answer says is of no interest, and could be endless.
            return response.status_code

    async def _resolved(self, parts: SplitResult) -> str:
        """The first address of a URL's host. Raises Forbidden where any of them is private, OSError without one."""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        resolve = partial(socket.getaddrinfo, parts.hostname, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._resolvers, resolve)
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not (self._to_private or _is_public(address)):
                raise Forbidden(f"{parts.hostname} leads to a private address, {address}.")
        return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    # Only what is given out for the internet at large, and none of the ways to write or reach an IPv4 address.
    if parsed.version == IPV6 and (parsed not in GLOBAL_UNICAST or any(parsed in network for network in TUNNELS)):
        return False
    return parsed.is_global and not parsed.is_multicast
