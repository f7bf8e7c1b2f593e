"""Options of a command that belong together, handed to it as one frozen value with a field for each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

Command = Callable[..., Any]
Option = Callable[[Command], Command]  # what click.option and click.argument return


def gather(name: str, kind: type, options: Sequence[Option]) -> Option:
    """Return a decorator that adds options to a command and gives it their values together.

    Args:
        name: the parameter of the command.
        kind: a dataclass; the options are called as its fields are.
        options: in the order of --help.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_value(**given: Any) -> Any:
            own = {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}
            return command(**{name: kind(**own)}, **given)

        decorated: Command = with_value
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate
