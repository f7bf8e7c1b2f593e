"""What messages call an argument and a run: as the command line writes them, or as make does where make started it."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import AbstractContextManager

import click

from repghost.errors import as_command, options_spelled
from repghost.terminal import escape, shell_command

STARTED_BY = "REPGHOST_STARTED_BY"  # the Makefile sets it to "make"
# The Makefile's variables that become options of the same name, in small letters.
VARIABLES = frozenset({
    "target", "width", "model", "size", "weights", "data", "preprocess", "precision", "config", "images", "test_images",
    "threads", "class_order", "class_map", "val_share", "max_drop", "jetpack", "name", "output", "widths", "compare",
    "recipe", "epochs",
})  # fmt: skip
OF_MAKE = ("compile", "train", "report", "doctor")  # what make starts by the same name
_WRITTEN = re.compile(r"(?<![\w-])'?--([a-z][a-z-]*)'?( / '-{1,2}[\w-]+')*")


def started_by_make() -> bool:
    """Return whether make started this process."""
    return os.environ.get(STARTED_BY) == "make"


def words_of_this_start() -> AbstractContextManager[None]:
    """Let messages speak as the user did, until the block ends."""
    return options_spelled(as_variable, as_target) if started_by_make() else options_spelled(as_option, as_command)


def as_option(name: str, value: object = None) -> str:
    """Return an argument as the command line writes it: by the option of the command that runs, --name otherwise.

    Args:
        name: of the argument.
        value: that it is given; True for a switch.
    """
    context = click.get_current_context(silent=True)
    known = {parameter.name: parameter.opts for parameter in context.command.params} if context is not None else {}
    usual = f"--{name.replace('_', '-')}"
    spelled = next((word for word in known.get(name, ()) if word.startswith("--")), usual)
    return spelled if value is None or value is True else f"{spelled} {shlex.quote(escape(value))}"


def as_variable(name: str, value: object = None) -> str:
    """Return an argument as make writes it, NAME= or NAME=value; what make has no variable for is an option."""
    if name not in VARIABLES or value is True:
        return as_option(name, value)
    return f"{name.upper()}={'' if value is None else shlex.quote(escape(value))}"


def as_target(name: str, values: dict[str, object]) -> str:
    """Return how make starts a command; one that it does not know is started without it."""
    if name not in OF_MAKE:
        return as_command(name, values)
    return shell_command("make", name, *(f"{key.upper()}={value}" for key, value in values.items()))


def with_variables(message: str) -> str:
    """Return what click says of options with make's variables in their place."""

    def variable(found: re.Match[str]) -> str:
        name = found[1].replace("-", "_")
        return name.upper() if name in VARIABLES else found[0]

    return _WRITTEN.sub(variable, message)
