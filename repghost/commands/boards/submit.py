"""`repghost submit`: what a board measured, as a small file without names."""

from __future__ import annotations

import json
from pathlib import Path

import click

from repghost.terminal import say


@click.command("submit", short_help="Write what a board measured as a small file to send.")
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--on", metavar="BOARD", help="The board, as it was named when it measured, where several did.")
@click.option("--output", "-o", default="docs/boards", show_default=True, type=click.Path(path_type=Path),
              help="The folder of the file.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(reports: tuple[Path, ...], on: str | None, output: Path, as_json: bool) -> None:
    """Write what one board measured of published networks: REPORTS are folders of runs, or JSON of bench --on.

    The file holds figures and words of tables: no host name, serial number, address, user name or path. Nothing is
    sent; open a pull request with it, and 'python -m benchmarks.boards' puts it into docs/boards.md.
    """
    from repghost.api.boards.submission import submit

    found = submit(reports, on=on, output=output)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        say(f"written: {found!r}")
