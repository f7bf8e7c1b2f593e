"""`repghost detect-export`: a detector, or its backbone with the pyramid, as ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from repghost.commands.options.earlier import output_file
from repghost.commands.options.size_option import SizeType
from repghost.sizes import Size, sides
from repghost.terminal import say


@click.command("detect-export", short_help="Write a detector as ONNX.")
@click.argument("detector", type=click.Path(path_type=Path))
@output_file("The ONNX file to write.")
@click.option("--part", help="pyramid: fused backbone and pyramid; detector: everything, for runtimes with NMS; heads: "
              "ssdlite.  [default: heads of ssdlite, else pyramid]")  # fmt: skip
@click.option("--size", type=SizeType(32), help="Pixels of the input.  [default: the short side of the training]")
@click.option("--height", type=click.IntRange(32, 4096), hidden=True)  # as these two were given earlier
@click.option("--width", type=click.IntRange(32, 4096), hidden=True)
def command(
    detector: Path, output: Path, part: str | None, size: Size | None, height: int | None, width: int | None
) -> None:
    """Write DETECTOR, a file of 'repghost detect-train', as ONNX with fixed sizes.

    The pyramid and the heads take normalized pictures [1, 3, height, width] and are compared with the network before
    they are written. The detector takes one picture [3, height, width] in [0, 1] and gives boxes, labels, scores and
    masks.
    """
    from repghost.api.training.detection import export_detector

    if size is not None:
        height, width = sides(size)
    say(repr(export_detector(detector, output, part=part, height=height, width=width)))
