"""An embedded PostgreSQL for contenders without one: prints its URL and runs until its standard input ends."""

import asyncio
import sys
from pathlib import Path

from app.db.embedded import embedded_postgres


async def main() -> None:
    """Run until standard input ends."""
    async with embedded_postgres(Path(sys.argv[1]), 60) as url:
        # Tortoise in the tutorial's way takes the URL as it is, and knows neither this scheme nor this option.
        print(url.replace("postgresql://", "postgres://").replace("sslmode=disable&", ""), flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
