"""Network addresses of clients in log lines (``LOG_ADDRESSES``)."""

import ipaddress
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # Imported for types alone, like the settings of log_format.
    from app.config import AddressLogging

PREFIX_LENGTHS: Final = {4: 24, 6: 48}
"""Bits that remain of a shortened address, by IP version: enough for a network, too few for a person."""


def logged_address(address: str, setting: "AddressLogging") -> str | None:
    """An address as log lines show it: complete, without its last part, or None."""
    if setting == "full" or not address:
        return address or None
    if setting == "off":
        return None
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, PREFIX_LENGTHS[parsed.version]), strict=False).network_address)


class ClientFilter(logging.Filter):
    """Shortens or removes the field ``client`` of log records."""

    def __init__(self, addresses: "AddressLogging") -> None:
        super().__init__()
        self._addresses = addresses

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; all records pass."""
        if (client := vars(record).pop("client", None)) and (shown := logged_address(client, self._addresses)):
            record.client = shown
        return True
