"""Everything PostgreSQL: connections, migrations, queries and the embedded server."""

from typing import Any


def __getattr__(name: str) -> Any:
    """``TORTOISE_ORM`` for aerich's command line, created on access because it reads the environment."""
    if name != "TORTOISE_ORM":
        raise AttributeError(name)
    from app.db.migrations import aerich_config

    return aerich_config()
