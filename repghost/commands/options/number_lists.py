"""Options with as many numbers as follow, which click knows for arguments alone: --mean 0.5 0.5 0.5 0.5."""

from __future__ import annotations

from typing import Any

import click


class NumberList(click.ParamType[tuple[float, ...]]):
    """Numbers, which `WithNumberLists` has put into one text."""

    name = "float..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers of a text, or of the list that a file has."""
        parts = value.replace(",", " ").split() if isinstance(value, str) else value
        try:
            return tuple(float(part) for part in (parts if isinstance(parts, list | tuple) else [parts]))
        except (TypeError, ValueError):
            self.fail(f"{value!r:.80} is not a list of numbers such as 0.5 0.5 0.5.", param, ctx)


class WithNumberLists(click.Command):
    """A command with options of the type `NumberList`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Gather the numbers behind such an option, then parse as click does."""
        names = {name for option in self.params if isinstance(option.type, NumberList) for name in option.opts}
        gathered: list[str] = []
        behind = False  # a name, or a name and numbers
        for word in args:
            if behind and _is_number(word):
                if gathered[-1] in names:
                    gathered.append(word)
                else:
                    gathered[-1] += f" {word}"
            else:
                behind = word in names
                gathered.append(word)
        return super().parse_args(ctx, gathered)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
