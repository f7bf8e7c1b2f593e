"""`repghost pull`: networks and bundles from the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

import click

from repghost.terminal import say, say_page, shell_command


@click.command("pull", short_help="Fetch networks and bundles from the Hugging Face hub.")
@click.argument("address", metavar="hf://USER/NAME[@REVISION][/PATH]")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="DIR", help="The folder to write to.  [default: NAME]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(address: str, output: Path | None, as_json: bool) -> None:
    """Fetch the weights, ONNX files and bundles of a repository, or the file or folder PATH of it.

    Sizes, names and digests are checked, a bundle as before it is deployed; nothing is run. Only a commit as REVISION
    is the same tomorrow; the one that was fetched is printed. Files of other kinds stay there.

    Exit codes: 1 the hub does not answer, 2 there is no such file, or another one is in the way, 4 huggingface_hub is
    missing, 6 a file is not what the hub lists, or a bundle is not whole.
    """
    from repghost.api.publishing.pulling import pull

    done = pull(address, output)
    if as_json:
        click.echo(json.dumps(done.to_dict()))
        return
    say_page(repr(done))
    for place in done.bundles:
        say(f"Next: {shell_command('repghost', 'verify', done.folder / place)}")
