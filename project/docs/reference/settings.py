"""All settings, as ``app.config`` declares them."""

from pathlib import Path
from typing import Any

from app.config import Settings

HEAD = """# Settings

Every setting is an environment variable, or a line in `.env` (in the folder the command is run in, or beside the
Makefile). An empty one counts as not set. A value that does not fit is refused at the start, with a line that says why.

| Setting | Default | |
| --- | --- | --- |
"""


def page() -> str:
    """The page, as Markdown."""
    rows = [
        f"| `{name.upper()}` | {_default(name, field.default)} | {_told(field.description, name)} |"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def _default(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{int(value)}`"
    if isinstance(value, Path):
        return f"`{value.name}`"
    return "all cores" if name == "worker_threads" else f"`{value}`"


def _told(description: str | None, name: str) -> str:
    assert description, f"{name} has no description"
    return description.replace("|", "\\|")
