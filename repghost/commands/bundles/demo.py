"""`repghost demo`: a page for browsers that classifies pictures and measures the device it is opened on."""

from __future__ import annotations

import json
from pathlib import Path

import click

from repghost.terminal import say


@click.command("demo", short_help="Write a page that runs networks in the browser, and measures them there.")
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", "-o", default="build/demo", show_default=True, type=click.Path(path_type=Path),
              help="The folder of the page.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(bundles: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Write one folder of plain files, for any web server: BUNDLES are for the target web, or folders of runs.

    The page classifies pictures and what a camera sees, and times every network on the device it is opened on. Nothing
    leaves it; what it measured it saves as JSON, which 'repghost report' takes as one more machine.
    """
    from repghost.api.demo import demo

    found = demo(bundles, output=output)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        say(f"written: {found!r}")
