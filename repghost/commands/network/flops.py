"""`repghost flops`: multiply-adds and parameters of a width or a checkpoint, beside the published figures."""

from __future__ import annotations

import json
from typing import Any

import click

from repghost.terminal import say_page


@click.command("flops", short_help="Count operations and parameters.")
@click.argument("widths", nargs=-1, metavar="[WIDTH|timm:NAME]...")
@click.option("--checkpoint", help="Count the network of this file instead.")
@click.option(
    "--size", default=224, show_default=True, type=click.IntRange(1, 4096), help="Side of the picture, pixels."
)
@click.option("--classes", default=1000, show_default=True, type=click.IntRange(1), help="Number of classes.")
@click.option("--layers", is_flag=True, help="List every layer of the fused form.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(widths: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Count each WIDTH (all eight published ones by default) in train, converted and fused form.

    Networks of timm and torchvision are named, timm:mobilenetv3_large_100, and counted as they are.
    """
    from repghost.api.networks.counts import flops

    found = flops(widths, **options)
    say_page(json.dumps(found.to_dict()["networks"], indent=2) if as_json else repr(found))
