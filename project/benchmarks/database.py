"""An embedded PostgreSQL for a contender that brings none: prints its URL and runs until its standard input ends."""

import asyncio
import sys
from pathlib import Path

from app.db.embedded import embedded_postgres


async def main() -> None:
    """Run it."""
    async with embedded_postgres(Path(sys.argv[1]), 60) as url:
        # Tortoise in the tutorial's way takes the URL as it is, and knows neither this scheme nor these options.
        print(url.replace("postgresql://", "postgres://").partition("?")[0], flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
