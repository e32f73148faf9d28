"""``classifier keys create | list | revoke``."""

import argparse
import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from app.config import Settings
from app.domain import Scope, StartupError

_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their options."""
    commands = parser.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="create a key and show it once")
    create.add_argument("name", type=_name, help="who or what will use the key")
    create.add_argument(
        "--scopes",
        type=_scopes,
        default=[Scope.READ, Scope.WRITE],
        help="upload, read, write, admin; default: read,write",
    )
    create.add_argument(
        "--expires", type=parse_duration, metavar="TIME", help="lifetime such as 12h, 30d or 52w (default: unlimited)"
    )
    commands.add_parser("list", help="list all keys without their secrets")
    revoke = commands.add_parser("revoke", help="revoke a key")
    revoke.add_argument("id", type=int, help="ID of the key, from `keys list`")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run a subcommand; works while the service is running."""
    from app.db.connection import database_in_use

    async def act() -> None:
        async with database_in_use(settings):
            await _ACTIONS[options.keys_command](options)

    asyncio.run(act())
    return 0


async def _create(options: argparse.Namespace) -> None:
    from app.cli.operator import operator
    from app.db.crud import api_keys

    key_id, key = await api_keys.create(options.name, options.scopes, options.expires, operator().name)
    print(f"Key {key_id} of {options.name}, shown only once:", key, sep="\n")


async def _list(_options: argparse.Namespace) -> None:
    from app.db.crud import api_keys
    from app.db.crud.audit_log import format_utc

    row = "{:>4}  {:<24}  {:<16}  {:<20}  {:<20}  {:<20}  {}".format
    print(row("id", "name", "scopes", "created", "used", "expires", "state"))
    for key in await api_keys.list_all():
        state = "valid"
        if key.revoked_at:
            state = "revoked"
        elif key.expires_at and key.expires_at < datetime.now(UTC):
            state = "expired"
        times = [format_utc(time) for time in (key.created_at, key.used_at, key.expires_at)]
        print(row(key.id, key.name, key.scopes, *times, state))


async def _revoke(options: argparse.Namespace) -> None:
    from app.cli.operator import operator
    from app.db.crud import api_keys

    if not await api_keys.revoke(options.id, operator().name):
        raise StartupError(f"There is no valid key {options.id}: `./classifier keys list` shows all keys.")
    print(f"Key {options.id} is revoked.")


_ACTIONS: Final = {"create": _create, "list": _list, "revoke": _revoke}


def _name(text: str) -> str:
    from app.db.crud.api_keys import MAX_NAME_LENGTH

    if not (0 < len(text) <= MAX_NAME_LENGTH and text.isprintable() and text.strip() == text):
        raise argparse.ArgumentTypeError(f"a name must have 1 to {MAX_NAME_LENGTH} printable characters")
    return text


def _scopes(text: str) -> list[Scope]:
    try:
        return [Scope(scope.strip()) for scope in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError("scopes must be upload, read, write or admin, separated by commas") from None


def parse_duration(text: str) -> timedelta:
    """A duration on the command line: 12h, 30d, 52w."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError("use a number of hours, days or weeks: 12h, 30d, 52w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
