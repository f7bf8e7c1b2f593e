"""The size of a network's input on the command line: pixels, or HEIGHTxWIDTH where they differ."""

from __future__ import annotations

import click

from repghost.errors import UsageError
from repghost.sizes import MAX_SIDE, Size, parse_size, sides


class SizeType(click.ParamType[Size]):
    """A size whose sides lie in a range."""

    name = "size"

    def __init__(self, least: int, most: int = MAX_SIDE) -> None:
        self.least, self.most = least, most

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help calls a value."""
        return "N|HxW"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """Return the size in pixels; height and width where they differ."""
        try:
            size = parse_size(value) if isinstance(value, str) else value
        except UsageError as error:
            self.fail(str(error), param, ctx)
        if not all(self.least <= side <= self.most for side in sides(size)):  # type: ignore[arg-type]
            self.fail(f"{value} is not in the range {self.least} to {self.most} pixels a side.", param, ctx)
        return size  # type: ignore[return-value]
