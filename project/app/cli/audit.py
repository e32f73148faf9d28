"""``classifier audit``: who changed what, and when."""

import argparse
import asyncio
import json
from typing import Final

from app.config import Settings
from app.key_commands import duration

PAGE: Final = 1_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--since", type=duration, metavar="TIME", help="only changes of the last 12h, 30d or 52w")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print all changes, newest first; works while the service is running."""
    from app import changes
    from app.db import database_in_use
    from app.models.history import ChangeRead

    async def tell() -> None:
        last_id = None
        while rows := await changes.page(PAGE, last_id, options.since):
            for row in rows:
                change = ChangeRead.of(row)
                print(change.model_dump_json() if options.json else _line(change))
            last_id = rows[-1].id

    def _line(change: ChangeRead) -> str:
        told = f"{json.dumps(change.before)} -> {json.dumps(change.after)}"
        return f"{changes.utc(change.changed_at)}  {change.who}  {change.action}  {change.subject_id}  {told}"

    async def act() -> None:
        async with database_in_use(settings):
            await tell()

    asyncio.run(act())
    return 0
