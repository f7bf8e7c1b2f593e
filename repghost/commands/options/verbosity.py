"""-q and -v, which every command has."""

from __future__ import annotations

import logging
import traceback

import click

from repghost import terminal
from repghost.terminal import say


def add_verbosity(command: click.Command) -> click.Command:
    """Return a command that also takes --quiet and --verbose, behind its own options."""
    if not any(parameter.name == "quiet" for parameter in command.params):
        command.params += [
            click.Option(["--quiet", "-q"], is_flag=True, expose_value=False, callback=_quiet,
                         help="Print results and errors only: no progress, notes and next steps."),
            click.Option(["--verbose", "-v"], is_flag=True, expose_value=False, callback=_verbose,
                         help="Print what libraries log, too, and where an error came from."),
        ]  # fmt: skip
    return command


def _quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    terminal.quiet = terminal.quiet or value
    terminal.live = terminal.live and not terminal.quiet


def _verbose(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    terminal.verbose = terminal.verbose or value
    if value:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def tell_origin(error: BaseException) -> None:
    """Print the traceback of an error, where that was asked for."""
    if terminal.verbose:
        say(*"".join(traceback.format_exception(error)).rstrip("\n").split("\n"), err=True)
