"""`repghost push`: a checkpoint, an ONNX file or a bundle to the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

import click

from repghost.terminal import say, say_page, shell_command


@click.command("push", short_help="Bring a network or a bundle to the Hugging Face hub.")
@click.argument("network", type=click.Path(path_type=Path), metavar="FILE|BUNDLE")
@click.argument("address", metavar="hf://USER/NAME[@BRANCH][/PATH]")
@click.option("--private", is_flag=True, help="A repository that is made here is shown to its owner only.")
@click.option("--message", metavar="TEXT", help="Of the commit.  [default: what is added]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(network: Path, address: str, private: bool, message: str | None, as_json: bool) -> None:
    """Bring a checkpoint (.safetensors), an ONNX file or the folder of a bundle to the hub, with a model card.

    You have to be logged in: 'hf auth login', or HF_TOKEN. The card lies beside the file as PATH.md, and becomes the
    README.md of a repository that has none. Pickles (.pt, .pth) are not pushed.

    Exit codes: 1 the hub does not answer, 2 wrong input or not allowed there, 4 huggingface_hub is missing, 6 a bundle
    was changed.
    """
    from repghost.api.publishing.pushing import push

    done = push(network, address, private=private, message=message)
    if as_json:
        click.echo(json.dumps(done.to_dict()))
        return
    say_page(repr(done))
    say(f"Anybody who may read it: {shell_command('repghost', 'pull', done.address)}")
