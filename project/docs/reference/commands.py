"""The reference of all commands, generated from the parser."""

import argparse

from app.cli.main import make_parser

HEAD = """# Commands

Run `./classifier COMMAND` in the root of the repository, or `classifier COMMAND` in a container. The exit status is 0
on success. On failure it is 1, with one line that says what is wrong and what to do.
"""


def page() -> str:
    """The page, as Markdown."""
    return HEAD + "".join(_section(name, parser) for name, parser in _commands(make_parser()))


def _commands(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    commands: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list subcommands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, subparser in action.choices.items():
                nested = _commands(subparser)
                commands += [(f"{name} {last}", command) for last, command in nested] or [(name, subparser)]
    return commands


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    # A fixed width, independent of the terminal.
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=100)
    return f"\n## {name}\n\n```text\n{parser.format_help().strip()}\n```\n"
