"""`repghost accuracy`: measure every way to quantize on the same images, and write a page of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repghost.commands.options.data_options import class_map_option, class_order_option, val_share_option
from repghost.commands.options.earlier import Renamed
from repghost.terminal import say, say_progress


@click.command("accuracy", short_help="Compare every way to quantize on the same pictures.")
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK...")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Pictures with a split to evaluate on.")
@click.option("--preprocess", type=click.Path(path_type=Path), help="JSON, for a NETWORK that has none.")
@click.option("--weights", help="Of a network that is named, timm:NAME: a weight file, or 'pretrained'.")
@class_order_option
@class_map_option
@val_share_option
@click.option("--method", "methods", multiple=True, metavar="PATTERN", help="Only these rows, e.g. 'QAT*'; repeatable.")
@click.option("--again", multiple=True, metavar="PATTERN", help="Measure these rows again, e.g. after a change.")
@click.option("--kept", is_flag=True, help="Measure nothing: write what is kept, and name what is not there.")
@click.option("--add", is_flag=True, hidden=True, help="Keep the networks in the document that are not among NETWORK.")
@click.option("--images", default=512, show_default=True, type=click.IntRange(1),
              help="Calibration pictures.")  # fmt: skip
@click.option("--test-images", type=click.IntRange(2), help="Evaluate on so many only.  [default: all]")
@click.option("--python", "pythons", multiple=True, type=click.Path(path_type=Path),
              help="An interpreter that has other tools (onnxruntime, nncf, nvidia-modelopt); repeatable.")  # fmt: skip
@click.option("--arm64/--no-arm64", default=True, show_default=True, help="Compare the arm64 build under emulation.")
@click.option("--cells", default="build/accuracy/cells", show_default=True, type=click.Path(path_type=Path),
              help="Where measurements are kept; what is there is not measured again.")  # fmt: skip
@click.option("--output", "-o", cls=Renamed, earlier=("--docs",), default="build/accuracy", show_default=True,
              type=click.Path(path_type=Path), help="Folder of accuracy.json and accuracy.md.")  # fmt: skip
def command(networks: tuple[str, ...], data: Path, **options: Any) -> None:
    """Quantize each NETWORK in every way, measure all of them on the same test pictures, and write what came out.

    NETWORK is a trained checkpoint with its branches, a float ONNX file, or timm:NAME or torchvision:NAME.
    Post-training quantization by algorithm, training under quantization in both modes, and the quantizers of other
    tools get the same calibration pictures. A run that was stopped goes on where it was: each measurement is kept whole
    or not at all.
    """
    from repghost.api.evidence import accuracy

    found = accuracy(networks, data, say=say_progress, **options)
    say(f"written: {found.json_file} and {found.page_file}")
