"""``python -m app keys create | list | revoke``."""

import argparse
import asyncio
import getpass
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from app.config import Settings
from app.domain import Scope, StartupError

_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of each of the three."""
    commands = parser.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make a key, and show it: once, and never again")
    create.add_argument("name", type=_name, help="what people call it: who, or what program, is to use it")
    create.add_argument(
        "--scopes", type=_scopes, default=[Scope.READ, Scope.WRITE], help="read, write, admin; default: read,write"
    )
    create.add_argument("--expires", type=duration, metavar="TIME", help="after 12h, 30d, 52w (default: never)")
    commands.add_parser("list", help="show all keys, but for their secrets")
    revoke = commands.add_parser("revoke", help="end a key's use")
    revoke.add_argument("id", type=int, help="its number, as `keys list` shows it")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run one of the three, also beside a running service."""
    from app.db import database_in_use

    async def act() -> None:
        async with database_in_use(settings):
            await _ACTIONS[options.keys_command](options)

    asyncio.run(act())
    return 0


async def _create(options: argparse.Namespace) -> None:
    from app import keys

    key_id, key = await keys.create(options.name, options.scopes, options.expires, _operator())
    print(f"Key {key_id} of {options.name}. It is shown this once:", key, sep="\n")


async def _list(_options: argparse.Namespace) -> None:
    from app import keys
    from app.changes import utc

    row = "{:>4}  {:<24}  {:<16}  {:<20}  {:<20}  {:<20}  {}".format
    print(row("id", "name", "scopes", "created", "used", "expires", "state"))
    for key in await keys.all_keys():
        state = "valid"
        if key.revoked_at:
            state = "revoked"
        elif key.expires_at and key.expires_at < datetime.now(UTC):
            state = "expired"
        times = [utc(time) for time in (key.created_at, key.used_at, key.expires_at)]
        print(row(key.id, key.name, key.scopes, *times, state))


async def _revoke(options: argparse.Namespace) -> None:
    from app import keys

    if not await keys.revoke(options.id, _operator()):
        raise StartupError(f"There is no key {options.id} in use: `python -m app keys list` shows them.")
    print(f"Key {options.id} is revoked.")


def _operator() -> str:
    """Who uses the command line, as far as the system knows."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "somebody"
    return f"{name} (command line)"[:64]


_ACTIONS: Final = {"create": _create, "list": _list, "revoke": _revoke}


def _name(text: str) -> str:
    from app.keys import LONGEST_NAME

    if not (0 < len(text) <= LONGEST_NAME and text.isprintable() and text.strip() == text):
        raise argparse.ArgumentTypeError(f"a name has 1 to {LONGEST_NAME} characters that can be printed")
    return text


def _scopes(text: str) -> list[Scope]:
    try:
        return [Scope(scope.strip()) for scope in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError("scopes are read, write and admin, separated by commas") from None


def duration(text: str) -> timedelta:
    """A time as people write it on a command line: 12h, 30d, 52w."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError("a time is a number of hours, days or weeks: 12h, 30d, 52w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
