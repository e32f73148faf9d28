"""Network addresses: the syntax of URLs that clients supply, and which addresses are public or local."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

MAX_URL_LENGTH: Final = 2_048

IPV6: Final = 6
GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
SPECIAL: Final = tuple(
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "2001::/23")
)
"""Special-purpose addresses (RFC 6890) that older versions of Python consider global."""
TUNNELS: Final = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))
"""6to4 and Teredo."""


def check_url(url: str) -> None:
    """Raises ValueError, with the reason, if ``url`` is not an HTTP URL."""
    try:
        parts = urlsplit(url)
        has_valid_port = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ValueError("it must be a URL such as https://example.com/path") from error
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"it must have at most {MAX_URL_LENGTH} characters")
    # Only printable ASCII: no blanks, control characters or other scripts, which could disguise the host.
    if not all("!" <= character <= "~" for character in url):
        raise ValueError("it must be a percent-encoded URL such as https://example.com/path")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not has_valid_port:
        raise ValueError("it must be a URL such as https://example.com/path")
    if "@" in parts.netloc or "#" in url:
        raise ValueError("it must not contain a user name or a fragment")


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet."""
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    # Allows global unicast only, and none of the notations and tunnels that lead to an IPv4 address.
    if parsed.version == IPV6 and (parsed not in GLOBAL_UNICAST or any(parsed in network for network in TUNNELS)):
        return False
    if any(parsed in network for network in SPECIAL if network.version == parsed.version):
        return False
    return parsed.is_global and not parsed.is_multicast


def is_loopback(host: str) -> bool:
    """Whether a host name or address is only reachable from this machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # ::ffff:127.0.0.1 is loopback, too, which older versions of Python deny.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
