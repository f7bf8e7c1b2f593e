"""The command line: a table of commands, each imported when it is used, and errors without a traceback."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import sys
import warnings
from typing import Any

import click

from repghost import address_space, terminal
from repghost.commands.options.spelled import started_by_make, with_variables, words_of_this_start
from repghost.commands.options.verbosity import add_verbosity, tell_origin
from repghost.commands.options.wrong_usage import in_words, missing
from repghost.errors import (
    NoteWarning,
    RepGhostError,
    UsageError,
    is_out_of_memory,
    unknown_value,
)
from repghost.terminal import escape
from repghost.version import __version__

# One row per command: its name -> module:function. The modules import torch and TVM inside their functions only.
# A row whose module is absent is left out.
COMMANDS: dict[str, str] = {
    "train": "repghost.commands.training.train:command",
    "validate": "repghost.commands.training.validate:command",
    "predict": "repghost.commands.network.predict:command",
    "fuse": "repghost.commands.network.fuse:command",
    "flops": "repghost.commands.network.flops:command",
    "export": "repghost.commands.network.export:command",
    "quantize": "repghost.commands.quantization.quantize:command",
    "sensitivity": "repghost.commands.quantization.sensitivity:command",
    "qat": "repghost.commands.quantization.qat:command",
    "accuracy": "repghost.commands.quantization.accuracy:command",
    "lint": "repghost.commands.bundles.lint:command",
    "compile": "repghost.commands.bundles.compile:command",
    "explain": "repghost.commands.bundles.explain:command",
    "verify": "repghost.commands.bundles.verify:command",
    "sign": "repghost.commands.bundles.sign:command",
    "pack": "repghost.commands.bundles.pack:command",
    "demo": "repghost.commands.bundles.demo:command",
    "push": "repghost.commands.hub.push:command",
    "pull": "repghost.commands.hub.pull:command",
    "deploy": "repghost.commands.boards.deploy:command",
    "status": "repghost.commands.boards.status:command",
    "rollback": "repghost.commands.boards.rollback:command",
    "advise": "repghost.commands.boards.advise:command",
    "bench": "repghost.commands.bundles.bench:command",
    "submit": "repghost.commands.boards.submit:command",
    "report": "repghost.commands.bundles.report:command",
    "detect-train": "repghost.commands.training.detect_train:command",
    "detect-validate": "repghost.commands.training.detect_validate:command",
    "detect-export": "repghost.commands.training.detect_export:command",
    "doctor": "repghost.commands.boards.doctor:command",
}

# The groups of --help, in its order; what no group has comes last.
GROUPS: dict[str, tuple[str, ...]] = {
    "Train": ("train", "validate", "predict", "detect-train", "detect-validate", "detect-export"),
    "Quantize": ("quantize", "qat", "accuracy", "sensitivity", "lint"),
    "Compile and run": ("compile", "explain", "verify", "bench", "demo"),
    "Boards": ("advise", "doctor", "deploy", "status", "rollback", "pack", "sign"),
    "Reports": ("report", "submit"),
    "Share": ("push", "pull"),
}
MORE = "More"
ALIASES = {"convert": "fuse"}  # words of earlier versions and of the authors, which --help does not list

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
NO_TEMPORARY_FOLDER = "No usable temporary directory"  # as Python's tempfile says it
OWN_PACKAGES = ("repghost", "calib", "compile")


class Failure(click.ClickException):
    """An expected error: its message goes to stderr, its code to the shell."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """Print the message."""
        terminal.end_passing()
        click.echo(f"error: {self.format_message()}", file=file, err=file is None)


class WrongUsage(click.UsageError):
    """A wrong command line: how the command is used, and as the last line what is wrong, as every other error."""

    def show(self, file: Any = None) -> None:
        """Print the usage and the message."""
        if self.ctx is not None:
            usage = f"{self.ctx.get_usage()}\nTry '{self.ctx.command_path} --help' for help.\n"
            click.echo(usage, file=file, err=file is None)
        click.echo(f"error: {self.format_message()}", file=file, err=file is None)


class LazyGroup(click.Group):
    """A group whose commands come from a table of module:function."""

    def __init__(self, *args: Any, table: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = COMMANDS if table is None else table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands whose module exists, in the table's order."""
        return [name for name, target in self.table.items() if importlib.util.find_spec(target.partition(":")[0])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None when there is none of that name."""
        module, _, function = self.table.get(ALIASES.get(cmd_name, cmd_name), "").partition(":")
        if not module or not importlib.util.find_spec(module):
            return None
        command: click.Command = getattr(importlib.import_module(module), function)
        return add_verbosity(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in groups."""
        rest = self.list_commands(ctx)
        width = max(map(len, rest), default=0)
        for title, names in {**GROUPS, MORE: tuple(rest)}.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name) if name in rest else None
                if command is not None:
                    rest.remove(name)
                    rows.append((name.ljust(width), command.get_short_help_str(formatter.width)))
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command; what an earlier command line in this process asked for is over."""
        terminal.quiet = terminal.verbose = False
        terminal.live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begins with; an unknown one gets a suggestion."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise WrongUsage(str(unknown_value("command", args[0], self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn every error with a known cause into a message and an exit code."""
        warnings.filterwarnings("ignore", category=NoteWarning)  # the commands say it in a line of their own
        try:
            with words_of_this_start():
                return super().invoke(ctx)
        except RepGhostError as error:
            tell_origin(error)
            raise Failure(str(error), error.exit_code) from error
        except click.MissingParameter as error:
            raise _as_started(missing(error)) from error
        except click.UsageError as error:
            raise _as_started(error) from error
        except KeyboardInterrupt as error:
            stopped = error.__cause__  # a training that can go on says how
            if isinstance(stopped, RepGhostError):
                raise Failure(str(stopped), stopped.exit_code) from error
            raise Failure("interrupted; files that were being written are as they were before.", INTERRUPTED) from error
        except BrokenPipeError:
            raise  # click ends quietly when the reader of a pipe is gone
        except (click.ClickException, click.exceptions.Exit, click.Abort, SystemExit):
            raise
        except BaseException as error:  # what libraries in Rust raise is no Exception
            address_space.release()
            explained = _explained(error)
            if explained is error:
                raise
            tell_origin(error)
            raise explained from error


def _as_started(error: click.UsageError) -> click.ClickException:
    """Return an error of click's, safe to show; under make with its variables, and without the usage of the command."""
    message = in_words(escape(error.format_message()))
    if started_by_make():
        return Failure(with_variables(message), UsageError.exit_code)
    return WrongUsage(message, error.ctx)


def _explained(error: BaseException) -> BaseException:
    """Return what to tell of an error of the system, or the error itself where its cause is not known."""
    if is_out_of_memory(error):
        limit = address_space.limit_bytes()
        limited = "" if limit is None else f"; 'ulimit -v' allows it {limit >> 20} MB in all"
        advice = "Take fewer pictures (--images), a smaller --batch or --size, or give the process more"
        if str(error) == address_space.NO_PLACE:
            advice = "Give the process more; PyTorch alone takes a few thousand MB"
        reason = escape(error, 200) or "no more was to be had"
        return Failure(f"out of memory ({reason}). {advice}{limited}.", UsageError.exit_code)
    if str(error.args[-1:]).count(NO_TEMPORARY_FOLDER):
        return Failure(f"{escape(error.args[-1])}. Name one that can be written: TMPDIR=FOLDER.", UsageError.exit_code)
    if isinstance(error, OSError):
        place = f"{str(error.filename)!r}: " if error.filename else ""
        message = f"{place}{error.strerror or error}. Check the path, its permissions and free space."
        return Failure(escape(message), 1)
    return _missing_package(error) if isinstance(error, ModuleNotFoundError) else error


def _missing_package(error: ModuleNotFoundError) -> Exception:
    """Return a message that names the package to install, or the error itself where one of our own is missing."""
    package = (error.name or "").partition(".")[0]
    if not package or package in OWN_PACKAGES:
        return error
    message = (
        f"the Python package {package!r} is needed and not installed. 'repghost doctor' says what is missing and "
        "how to get it."
    )
    return Failure(message, 4)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="repghost")
def cli() -> None:
    """RepGhostNet from PyTorch to int8 on small devices. 'repghost COMMAND --help' says more of each command.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 accuracy gate missed, 4 tool missing, 5 device unreachable,
    6 integrity, 130 interrupted.
    """


add_verbosity(cli)


def main() -> None:
    """Run the command line and exit with its code."""
    # Importing PyTorch and TVM makes a million objects that stay. At the default of 700 new ones, looking through them
    # for garbage is a seventh of the time until a command begins.
    gc.set_threshold(50_000, 20, 20)
    address_space.prepare()
    cli.main(prog_name="repghost")


if __name__ == "__main__":
    main()
