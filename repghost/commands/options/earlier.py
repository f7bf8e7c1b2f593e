"""Earlier spellings of options and arguments: they go on working, and help and messages name the new ones alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from repghost.commands.options.gather import Command, Option
from repghost.errors import UsageError


class Renamed(click.Option):
    """An option with spellings that only those know who learned them earlier.

    Args:
        earlier: these spellings.
    """

    def __init__(self, declared: Any, *, earlier: tuple[str, ...], **settings: Any) -> None:
        super().__init__([*declared, *earlier], **settings)
        self.shown = [word for word in self.opts if word not in earlier]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return what --help says of it."""
        every, self.opts = self.opts, self.shown
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = every

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return what an error calls it."""
        return " / ".join(f"'{word}'" for word in self.shown)


class _EarlierOutput(click.Argument):
    """The file to write as the last word of a command line, which --output replaced."""

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return nothing: it is not shown."""
        return []


def output_file(text: str) -> Option:
    """Return a decorator that gives a command --output FILE, which may also be its last argument, as it was.

    Args:
        text: help.
    """
    kind = click.Path(path_type=Path)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_output(output: Path | None, last: Path | None, **given: Any) -> Any:
            context = click.get_current_context()
            if output is not None and last is not None:
                raise UsageError(f"two files to write, {str(last)!r} and {str(output)!r}; give --output alone.")
            if output is None and last is None:
                wanted = next(it for it in context.command.params if it.name == "output")
                raise click.MissingParameter(ctx=context, param=wanted)
            return command(output=output or last, **given)

        last = click.argument("last", cls=_EarlierOutput, required=False, type=kind)
        return click.option("--output", "-o", type=kind, help=text)(last(with_output))

    return decorate
