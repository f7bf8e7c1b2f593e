"""`repghost detect-export`: a detector, or its backbone with the pyramid, as ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from repghost.terminal import say


@click.command("detect-export", short_help="Write a detector as ONNX.")
@click.argument("detector", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--part", default="pyramid", show_default=True,
              help="pyramid: fused backbone and pyramid; detector: everything, for runtimes with NMS.")  # fmt: skip
@click.option("--height", type=click.IntRange(32, 4096), help="Of the input, in pixels.  [default: the short side]")
@click.option("--width", type=click.IntRange(32, 4096), help="Of the input, in pixels.  [default: the height]")
def command(detector: Path, output: Path, part: str, height: int | None, width: int | None) -> None:
    """Write DETECTOR, a file of 'repghost detect-train', as ONNX with fixed sizes.

    The pyramid takes normalized pictures [1, 3, height, width] and is compared with the network before it is written.
    The detector takes one picture [3, height, width] in [0, 1] and gives boxes, labels, scores and masks.
    """
    from repghost.detection.checkpoint import read_detector
    from repghost.detection.export import export_detector, export_pyramid
    from repghost.errors import unknown_value
    from repghost.files import write_bytes_atomically

    exporters = {"pyramid": export_pyramid, "detector": export_detector}
    if part not in exporters:
        raise unknown_value("part", part, exporters)
    loaded = read_detector(detector)
    height = height or -(-loaded.recipe.min_size // 32) * 32
    proto = exporters[part](loaded, height, width or height)
    write_bytes_atomically(output, proto.SerializeToString(deterministic=True))
    outputs = ", ".join(value.name for value in proto.graph.output)
    say(f"written: {output} ({output.stat().st_size / 1e6:.1f} MB); gives {outputs}")
