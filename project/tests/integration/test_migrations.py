"""Migrations: they create all tables, agree with the models, can be undone, and run once."""

import asyncio
import re
import subprocess
import sys
from typing import Any

import asyncpg
from aerich import Command
from tortoise import Tortoise

from app.config import MIGRATIONS_DIR, Settings
from app.db.connection import APP, connected
from app.db.embedded_binaries import binaries
from app.db.migrations import migrate, migration_config, migration_files, pending_migrations


def schema(url: str) -> str:
    """Tables and indexes as ``pg_dump`` writes them, without parts that differ between runs.

    Columns are sorted: migrations add them at the end. Without functions, triggers, statistics, ways of storage, and
    indexes of expressions or of some rows too, of which Tortoise's models know nothing.
    """
    done = subprocess.run(
        [str(binaries() / "pg_dump"), "--schema-only", "--no-owner", url], capture_output=True, text=True, check=True
    )
    tables_only = re.sub(
        r"^(CREATE (FUNCTION .*?^\$\$;|VIEW .*?;|TRIGGER [^\n]*;|INDEX [^\n]* USING gin [^\n]*;"
        r"|(UNIQUE )?INDEX [^\n]* WHERE [^\n]*;)"
        r"|ALTER TABLE [^\n]* SET (STATISTICS \d+|STORAGE \w+);)$",
        "",
        done.stdout,
        flags=re.DOTALL | re.MULTILINE,
    )
    columns_sorted = re.sub(
        r"(?<=\(\n)(    .*?)(?=\n\);)",
        lambda match: "\n".join(sorted(line.rstrip(",") for line in match[0].splitlines())),
        tables_only,
        flags=re.DOTALL,
    )
    lines = columns_sorted.splitlines()
    return "\n".join(line for line in lines if line and not line.startswith(("--", "\\", "SET", "SELECT")))


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows: list[Any] = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


async def test_models_and_migrations_agree(database_url: str, empty_database_url: str) -> None:
    await Tortoise.init(config=migration_config(empty_database_url))
    await Tortoise.generate_schemas(safe=False)
    await Tortoise.close_connections()
    migrated = schema(database_url)
    assert "CREATE TABLE public.predictions" in migrated
    assert migrated == schema(empty_database_url)


async def test_from_empty_to_the_newest_and_back(empty_database_url: str) -> None:
    settings = Settings(database_wait_seconds=10)
    applied = await migrate(empty_database_url, settings)
    assert applied == migration_files()
    assert await tables(empty_database_url) == {
        *("aerich", "predictions", "past_answers", "tabular_predictions", "workers", "idempotency_keys", "deliveries"),
        *("installation", "api_keys", "sessions", "changes", "rate_limits"),
        *(
            "custom_models",
            "examples",
            "trainings",
            "embeddings",
            "calibrations",
            "decision_thresholds",
            "shadows",
            "shadow_answers",
        ),
    }

    command = Command(migration_config(empty_database_url), app=APP, location=str(MIGRATIONS_DIR))
    async with command:
        await command.init()
        await command.downgrade(version=0, delete=False)
    assert await tables(empty_database_url) == {"aerich"}

    async with connected(empty_database_url, settings):
        assert await pending_migrations() == migration_files()
    assert await migrate(empty_database_url, settings) == applied


async def test_aerich_is_only_imported_to_migrate(database_url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from app.db.connection import connected\n"
        "from app.db.migrations import migrate_if_needed\n"
        "from app.config import Settings\n"
        "async def start():\n"
        f"    await migrate_if_needed({database_url!r}, Settings())\n"
        f"    async with connected({database_url!r}, Settings()): print('aerich' in sys.modules)\n"
        "asyncio.run(start())"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(MIGRATIONS_DIR.parent)},
    )
    assert (await process.communicate())[0] == b"False\n"


async def test_concurrent_migrations_run_once(empty_database_url: str) -> None:
    command = (
        "import asyncio; from app.db.migrations import migrate; from app.config import Settings;"
        f"print(len(asyncio.run(migrate({empty_database_url!r}, Settings(database_wait_seconds=10)))))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            command,
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(MIGRATIONS_DIR.parent)},
        )
        for _ in range(4)
    ]
    message = [(await process.communicate())[0].decode().strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(message) == ["0", "0", "0", str(len(migration_files()))]
