"""A PostgreSQL that restarts on the same port after a kill: ``python -m tests.resilience.database FOLDER``."""

import asyncio
import signal
import sys
from pathlib import Path

from app.db.embedded import embedded_postgres


async def main(folder: Path) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with embedded_postgres(folder, 60) as url:
        print(url, flush=True)
        await stop.wait()


asyncio.run(main(Path(sys.argv[1])))
