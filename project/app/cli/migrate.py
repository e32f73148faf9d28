"""``classifier migrate``."""

import argparse
import asyncio
import logging

from app.config import Settings
from app.observability.log_events import MIGRATIONS_APPLIED

log = logging.getLogger(__name__)


def run(settings: Settings, _options: argparse.Namespace) -> int:
    """Apply database migrations, also of a running service's embedded database."""
    from app.db.connection import database_url_in_use
    from app.db.migrations import migrate

    async def act() -> None:
        async with database_url_in_use(settings) as url:
            applied = await migrate(url, settings)
            if settings.queue == "pgqueuer":
                from app.worker.job_queue import install

                await install(url)
        log.info(MIGRATIONS_APPLIED, ", ".join(applied) or "none, the tables are up to date")

    asyncio.run(act())
    return 0
