"""``classifier audit``: who changed what, and when."""

import argparse
import asyncio
import json
from typing import Final

from app.cli.keys import parse_duration
from app.config import Settings

PAGE: Final = 1_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--since", type=parse_duration, metavar="TIME", help="only changes of the last 12h, 30d or 52w")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print all changes, newest first; works while the service is running."""
    from app.db.connection import database_in_use
    from app.db.crud import audit_log
    from app.models.pydantic_history import ChangeRead

    async def print_all() -> None:
        last_id = None
        while rows := await audit_log.page(PAGE, last_id, options.since):
            for row in rows:
                change = ChangeRead.from_row(row)
                print(change.model_dump_json() if options.json else _line(change))
            last_id = rows[-1].id

    def _line(change: ChangeRead) -> str:
        values = f"{json.dumps(change.before)} -> {json.dumps(change.after)}"
        time = audit_log.format_utc(change.changed_at)
        who = change.who if change.key_id is None else f"{change.who} (key {change.key_id})"
        return f"{time}  {who}  {change.address or '-'}  {change.action}  {change.subject_id}  {values}"

    async def act() -> None:
        async with database_in_use(settings):
            await print_all()

    asyncio.run(act())
    return 0
