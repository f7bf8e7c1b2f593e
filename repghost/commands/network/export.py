"""`repghost export`: plain float32 ONNX or MNN of a checkpoint, checked against it before it is written."""

from __future__ import annotations

from pathlib import Path

import click

from repghost.commands.options.earlier import output_file
from repghost.commands.options.size_option import SizeType
from repghost.commands.progress.notes import say_notes
from repghost.sizes import Size
from repghost.terminal import say

FORMATS = ("onnx", "mnn")


@click.command("export", short_help="Write plain float32 ONNX, or MNN.")
@click.argument("checkpoint", metavar="NETWORK")
@output_file("The file to write.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of the file.  [default: what its name ends in]")
@click.option("--size", type=SizeType(1), help="Pixels of the picture; by default what the checkpoint says.")
@click.option(
    "--batch", "-b", default="1", show_default=True, help="A number, or a name such as 'batch' to leave it open."
)
@click.option("--width", help="Refuse a checkpoint of another width; chooses the file when NETWORK is 'timm'.")
@click.option("--preprocess", type=click.Path(path_type=Path), help="JSON, for a network that does not say it.")
@click.option("--weights", help="Of a network that is named, timm:NAME: a weight file, or 'pretrained'.")
def command(
    checkpoint: str,
    output: Path,
    form: str | None,
    size: Size | None,
    batch: str,
    width: str | None,
    preprocess: Path | None,
    weights: str | None,
) -> None:
    """Fold NETWORK completely and write it as ONNX (opset 17), for any runtime that reads ONNX, or as MNN.

    The file is run first, ONNX by onnx's own reference evaluator and MNN by MNN's interpreter (extra 'mnn'); if it
    differs from the network by more than rounding, nothing is written and the exit code is 6. NETWORK is a checkpoint
    of RepGhostNet, the word timm with --width or bundled, a float ONNX file, or timm:NAME or torchvision:NAME with
    --weights.
    """
    from repghost.api.networks.conversion import export

    made = export(
        checkpoint, output, format=form, size=size, batch=batch, width=width, preprocess=preprocess, weights=weights
    )
    say_notes(made.notes)
    say(f"written: {output} ({made.size_bytes} bytes, input {' x '.join(map(str, made.shape))}, batch {batch})")
    say(f"largest difference of a logit from the network: {made.difference:.2g}")
