"""How help and errors of the command line are laid out, as wide as the terminal is."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from codec import console

NARROW = 60  # columns below which the help of an option stands under it


class Formatter(click.HelpFormatter):
    """Help as wide as the terminal, also where that is less than click's 50 columns."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(indent_increment, width or min(columns, max_width or columns) - 2, max_width)

    def write(self, string: str) -> None:
        """Examples too, which click leaves as they are, are broken where they are wider than the terminal."""
        ending = string[len(string.rstrip("\n")) :]
        too_wide = any(len(line) > self.width for line in string.splitlines())
        super().write(console.broken(string, self.width) + ending if too_wide else string)


class Context(click.Context):
    formatter_class = Formatter


class Program(click.Group):
    """The commands; their errors are broken between words."""

    context_class = Context

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            text = console.fitted(error.format_message(), sys.stderr, len("Error: "))
            raise click.UsageError(text, error.ctx) from error
        except click.ClickException as error:
            raise click.ClickException(console.fitted(error.message, sys.stderr, len("Error: "))) from error


class GroupedOption(click.Option):
    """An option that stands under a heading of its command's help."""

    def __init__(self, *names: Any, group: str, **attributes: Any) -> None:
        super().__init__(*names, **attributes)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help lists its options under headings, in one pair of columns where there is room."""

    context_class = Context

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        width = max(len(name) for records in groups.values() for name, _ in records)
        if formatter.width < NARROW:
            width = 0
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in records], col_max=width or 2)
