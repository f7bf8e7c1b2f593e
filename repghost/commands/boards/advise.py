"""`repghost advise`: which width and precision for a board and a time."""

from __future__ import annotations

import json

import click

from repghost.terminal import say_page


@click.command("advise", short_help="Which width and precision for a board and a time.")
@click.option("--board", required=True, help="E.g. pi4, zero2, orin-nano, rk3588; another word lists all.")
@click.option("--ms", type=float, help="Milliseconds for one picture.  [default: no choice, all figures]")
@click.option("--size", default=224, show_default=True, type=int, help="Pixels of the input.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(board: str, ms: float | None, size: int, as_json: bool) -> None:
    """Say which width and precision to build for a board, and what it is known by.

    Times are measured where somebody sent a measurement (repghost submit), else estimated from modelled cycles, with
    the errors such estimates had on published networks. They are of one thread.
    """
    from repghost.api.boards.advice import advise

    found = advise(board, ms=ms, size=size)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        say_page(repr(found))
