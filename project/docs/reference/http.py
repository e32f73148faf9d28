"""The reference of all HTTP operations, generated from the contract (``docs/openapi.json``)."""

import json
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).resolve().parents[1] / "openapi.json"
HEAD = """# HTTP

Every operation, generated from OpenAPI. `/docs` and `/redoc` of a running service show all schemas
and let you try each call. The [API guide](../api.md) explains how they work together.
"""


def page() -> str:
    """The page, as Markdown."""
    contract: dict[str, Any] = json.loads(CONTRACT.read_text())
    sections = [
        _section(method.upper(), path, operation)
        for path, operations in contract["paths"].items()
        for method, operation in operations.items()
    ]
    return HEAD + "".join(sections)


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"\n## `{method} {path}`\n", f"**{operation['summary']}.** {operation.get('description', '')}\n"]
    if parameters := operation.get("parameters"):
        lines += ["| Parameter | In | |", "| --- | --- | --- |"]
        lines += [f"| `{one['name']}` | {one['in']} | {_cell(one.get('description', ''))} |" for one in parameters]
        lines.append("")
    if body := operation.get("requestBody"):
        lines.append(f"Body: {', '.join(f'`{kind}`' for kind in body['content'])}\n")
    lines += ["| Status | |", "| --- | --- |"]
    lines += [f"| {status} | {_cell(answer['description'])} |" for status, answer in operation["responses"].items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")
