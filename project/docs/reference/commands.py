"""The command line, as its parser tells it."""

import argparse

from app.cli.main import make_parser

HEAD = """# Commands

All are `python -m app COMMAND`, run with `PYTHONPATH=project` and the interpreter in `.venv`, or in a container. Exit
status 0, or 1 with one line that says what is wrong and what to do.
"""


def page() -> str:
    """The page, as Markdown."""
    return HEAD + "".join(_section(name, parser) for name, parser in _commands(make_parser()))


def _commands(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    found: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:  # noqa: SLF001 - argparse tells it in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, below in action.choices.items():
                further = _commands(below)
                found += [(f"{name} {last}", one) for last, one in further] or [(name, below)]
    return found


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    # As wide as a page, whatever the terminal is.
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=100)
    return f"\n## {name}\n\n```text\n{parser.format_help().strip()}\n```\n"
