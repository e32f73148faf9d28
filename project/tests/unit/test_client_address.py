"""Network addresses in log lines."""

import logging

import pytest

from app.config import AddressLogging
from app.observability.client_address import ClientFilter, logged_address


@pytest.mark.parametrize(
    ("address", "short"),
    [
        ("192.0.2.77", "192.0.2.0"),
        ("::ffff:192.0.2.77", "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("127.0.0.1", "127.0.0.0"),
        ("no address", None),
        ("", None),
    ],
)
def test_short_address_has_no_last_part(address: str, short: str | None) -> None:
    assert logged_address(address, "short") == short
    assert logged_address(address, "full") == (address or None)
    assert logged_address(address, "off") is None


@pytest.mark.parametrize(("setting", "shown"), [("full", "192.0.2.77"), ("short", "192.0.2.0"), ("off", None)])
def test_log_lines_show_addresses_as_set(setting: AddressLogging, shown: str | None) -> None:
    record = logging.LogRecord("app", logging.INFO, __file__, 1, "a request", (), None)
    record.client = "192.0.2.77"
    assert ClientFilter(setting).filter(record)
    assert vars(record).get("client") == shown
