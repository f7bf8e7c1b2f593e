"""`repghost flops`: multiply-adds and parameters of a width or a checkpoint, beside the published figures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from repghost.terminal import say, say_page

if TYPE_CHECKING:
    from repghost.network.flops import NetworkCount
    from repghost.network.spec import Form, ModelSpec

HEADER = (
    f"{'model':<18}{'MACs':>13}{'upstream FLOPs':>16}{'(converted)':>13}{'params':>11}{'converted':>11}{'fused':>11}"
    f"{'published':>14}"
)
NOTE = (
    "MACs: multiply-adds of convolutions and linear layers. upstream FLOPs: its counter, which adds one per output of\n"
    "a convolution with bias and so rises by conversion. params: batch norms included, as published.\n"
    "published: params / FLOPs in millions, upstream's readme, train form, 224 px, 1000 classes."
)


@click.command("flops", short_help="Count operations and parameters.")
@click.argument("widths", nargs=-1, metavar="[WIDTH]...")
@click.option("--checkpoint", help="Count the network of this file instead.")
@click.option(
    "--size", default=224, show_default=True, type=click.IntRange(1, 4096), help="Side of the picture, pixels."
)
@click.option("--classes", default=1000, show_default=True, type=click.IntRange(1), help="Number of classes.")
@click.option("--layers", is_flag=True, help="List every layer of the fused form.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    widths: tuple[str, ...], checkpoint: str | None, size: int, classes: int, layers: bool, as_json: bool
) -> None:
    """Count each WIDTH (all eight published ones by default) in train, converted and fused form."""
    from repghost.errors import UsageError
    from repghost.network.flops import count_forms
    from repghost.network.spec import WIDTHS, ModelSpec, parse_width

    if checkpoint is not None:
        if widths:
            raise UsageError("give widths or --checkpoint, not both.")
        from repghost.checkpoints.checkpoint import read_checkpoint

        specs = [read_checkpoint(checkpoint).spec]
    else:
        multipliers = [parse_width(width, custom=True) for width in widths] or [row.multiplier for row in WIDTHS]
        specs = [ModelSpec(multiplier, classes) for multiplier in multipliers]
    rows = []
    if not as_json:
        say(HEADER)
    for spec in specs:
        forms = count_forms(spec, size)
        rows.append(_row(spec, size, forms, layers))
        if not as_json:
            _print_row(rows[-1])
            for layer in rows[-1].get("layers", []):
                shape = "x".join(str(side) for side in layer["output"])
                say(f"  {layer['name']:<42}{shape:>14}{layer['macs']:>13}{layer['params']:>11}")
    say_page(json.dumps(rows, indent=2) if as_json else NOTE)


def _row(spec: ModelSpec, size: int, forms: dict[Form, NetworkCount], layers: bool) -> dict[str, Any]:
    """Return the counts of one network as JSON values."""
    from repghost.network.spec import README, find_width

    row: dict[str, Any] = {
        "model": spec.name,
        "width": spec.width,
        "size": size,
        "num_classes": spec.num_classes,
        "macs": forms["fused"].macs,
        "upstream_flops": {"train": forms["train"].upstream_flops, "deploy": forms["deploy"].upstream_flops},
        "params": {form: counted.params for form, counted in forms.items()},
        "params_without_batch_norm": forms["train"].layer_params,
    }
    published = find_width(spec.width)
    if published is not None:
        figures = {"params_millions": published.params_millions, "flops_millions": published.flops_millions}
        row["published"] = {**figures, "source": README, "size": 224, "num_classes": 1000}
    if layers:
        row["layers"] = [
            {"name": layer.name, "output": list(layer.output_shape), "macs": layer.macs, "params": layer.params}
            for layer in forms["fused"].layers
        ]
    return row


def _print_row(row: dict[str, Any]) -> None:
    published = row.get("published")
    figures = f"{published['params_millions']} / {published['flops_millions']}" if published else "-"
    flops, params = row["upstream_flops"], row["params"]
    say(
        f"{row['model']:<18}{row['macs']:>13}{flops['train']:>16}{flops['deploy']:>13}{params['train']:>11}"
        f"{params['deploy']:>11}{params['fused']:>11}{figures:>14}"
    )
