"""``make bulk``: a backup and a restore of many predictions with images, with their times and peaks of memory."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Final

from app.config import Settings
from app.db.connection import connected, execute
from app.db.embedded import embedded_postgres
from app.db.migrations import migrate
from benchmarks.machine import machine
from tests.pictures import encoded, scene

BATCH: Final = 10_000
SMALL: Final = (16, 12)
"""Width and height of the images: their number is what counts, not their size."""
INSERT: Final = """
INSERT INTO predictions (filename, image_path, content_type, size_bytes, width, height, sha256, status,
                         top_prediction, confidence, all_predictions, model, model_version, attempts,
                         created_at, started_at, completed_at)
SELECT 'holiday ' || number || '.jpg', path, 'image/jpeg', $2, 16, 12, md5(path) || md5(path), 'succeeded', 'tiger_cat',
       0.5, '[{"label": "tiger_cat", "confidence": 0.5}, {"label": "tabby", "confidence": 0.25},
              {"label": "lynx", "confidence": 0.1}, {"label": "Egyptian_cat", "confidence": 0.05},
              {"label": "tiger", "confidence": 0.01}]'::jsonb, 'mobilenet_v2', '0123456789ab', 1, now(), now(), now()
FROM unnest($1::text[]) WITH ORDINALITY AS paths (path, number)
"""


def main() -> int:
    """Fill a database, back it up, restore it elsewhere, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bulk-") as name:
        folder = Path(name)
        asyncio.run(_fill(folder / "from", options.rows))
        print(f"| {options.rows} predictions with images | seconds | predictions/s | peak memory |")
        print("| --- | --- | --- | --- |")
        _run(options.rows, folder / "from", "backup", folder / "all.tar")
        _run(options.rows, folder / "to", "restore", folder / "all.tar")
        size = (folder / "all.tar").stat().st_size
        print(
            f"\nThe backup has {size / 2**20:.0f} MiB; "
            + ", ".join(f"{key} {value}" for key, value in machine().items())
        )
    return 0


async def _fill(data_dir: Path, rows: int) -> None:
    settings = Settings(data_dir=data_dir)
    image = encoded(scene(*SMALL), "JPEG")
    async with embedded_postgres(data_dir, 60) as url:
        await migrate(url, settings)
        async with connected(url, settings, statement_seconds=None):
            for start in range(0, rows, BATCH):
                keys = [_store(settings.uploads, image, start + number) for number in range(min(BATCH, rows - start))]
                await execute(INSERT, [keys, len(image)])


def _store(uploads: Path, image: bytes, number: int) -> str:
    # As many in one folder as of a day on which 40,000 images were uploaded.
    key = f"2026/{1 + number // 40_000 % 12:02}/{1 + number // 480_000 % 28:02}/{uuid.uuid4().hex}.jpg"
    path = uploads / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image)
    return key


def _run(rows: int, data_dir: Path, command: str, file: Path) -> None:
    environment = {**os.environ, "DATA_DIR": str(data_dir)}
    started_at = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "app", command, str(file)], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started_at
    if process.returncode:
        raise SystemExit(process.returncode)
    peak = usage.ru_maxrss / 1024
    print(f"| {command} | {seconds:.0f} | {rows / seconds:.0f} | {peak:.0f} MiB |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
