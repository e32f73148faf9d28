"""Addresses that clients name, for webhooks and for images: what may be one, and where it may lead."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

LONGEST_URL: Final = 2_048

IPV6: Final = 6
GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
SPECIAL: Final = tuple(
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "2001::/23")
)
"""Of the registries of special addresses (RFC 6890), what older versions of Python take for global."""
TUNNELS: Final = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))
"""6to4 and Teredo."""


def check_url(url: str) -> None:
    """Raises ValueError, with what is wrong, for text that is no address of a web server's."""
    try:
        parts = urlsplit(url)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ValueError("it should be an address such as https://example.com/path") from error
    if len(url) > LONGEST_URL:
        raise ValueError(f"it has more than {LONGEST_URL} characters")
    # Nothing that needs to be told apart from an address: no blanks, no control characters, no other alphabets.
    if not all("!" <= character <= "~" for character in url):
        raise ValueError("it should be an address such as https://example.com/path, percent-encoded")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_one:
        raise ValueError("it should be an address such as https://example.com/path")
    if "@" in parts.netloc or "#" in url:
        raise ValueError("it should have neither a user name nor a fragment")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet at large."""
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    # Only what is given out for the internet at large, and none of the ways to write or reach an IPv4 address.
    if parsed.version == IPV6 and (parsed not in GLOBAL_UNICAST or any(parsed in network for network in TUNNELS)):
        return False
    if any(parsed in network for network in SPECIAL if network.version == parsed.version):
        return False
    return parsed.is_global and not parsed.is_multicast
