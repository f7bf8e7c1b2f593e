"""`repghost compile`: the whole pipeline, from weights and images to bundles and a report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from repghost.commands.options.compile_options import refuse_without_effect
from repghost.commands.options.data_options import class_map_option, class_order_option, val_share_option
from repghost.commands.options.size_option import SizeType
from repghost.terminal import say_next, say_progress, say_summary


@click.command("compile", short_help="Build, verify and measure the bundles of a target.")
@click.option(
    "--target", required=True, help="arm64, android, armv7[-static], riscv64, macos, host, x86-64, web or jetson."
)
@click.option("--width", help="0.5, 0.58, 0.8, 1.0, 1.11, 1.3, 1.5 or 2.0.  [default: the weights' own]")
@click.option("--model", help="Another network: timm:NAME or torchvision:NAME, with --weights.")
@click.option("--size", type=SizeType(8), help="Pixels of the input.  [default: the weights' own]")
@click.option("--weights", help="A checkpoint, ONNX, 'bundled', 'timm' or 'random'.  [default: the bundled ones]")
@click.option("--data", type=click.Path(path_type=Path), help="A set of pictures.  [default: the bundled one]")
@click.option("--precision", help="int8, fp32, fp16 (arm64), separated by a comma.  [default: int8,fp32]")
@click.option("--config", "-c", type=click.Path(path_type=Path),
              help="Quantization settings, the JSON beside a quantized file.")  # fmt: skip
@click.option("--preprocess", type=click.Path(path_type=Path), help="JSON, for weights that do not say it.")
@click.option("--images", default=512, show_default=True, type=click.IntRange(1),
              help="Pictures to calibrate with.")  # fmt: skip
@click.option("--test-images", type=click.IntRange(1), help="Judge by so many pictures only.  [default: all]")
@class_order_option
@class_map_option
@val_share_option
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64), help="Of the measured inference.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses the pictures.")
@click.option("--max-drop", type=float, help="Fail with code 3 when int8 loses more points of top-1.")
@click.option("--jobs", "-j", default=lambda: os.cpu_count() or 1, type=click.IntRange(1),
              help="Threads that compile side by side.  [default: one per core]")  # fmt: skip
@click.option("--jetpack", default="6", show_default=True, help="Of the target jetson: 5, 6 or 7.")
@click.option("--squeeze-excite", default="float", show_default=True, help="Of the target jetson: int8 or float.")
@click.option("--depthwise", default="int8", show_default=True, help="Of the target jetson: int8 or float.")
@click.option("--via", default="trtexec", show_default=True, help="Of the target jetson: trtexec or torch-tensorrt.")
@click.option("--host/--no-host", default=True, show_default=True,
              help="Builds for this machine alone besides: latency, and a quicker evaluation.")  # fmt: skip
@click.option("--fetch/--no-fetch", default=True, show_default=True, help="Fetch an emulator when there is none.")
@click.option("--name", help="Ends the name of the run's folder, to keep it beside a run of other weights or data.")
@click.option("--output", "-o", default="build", show_default=True, type=click.Path(path_type=Path), help="Folder.")
def command(**options: Any) -> None:
    """Fuse, quantize, compile, pack, verify and measure a network for a target, and report on all of it."""
    from repghost.api.bundles import is_jetson, is_quantized_file

    for_jetson = is_jetson(options["target"])  # a wrong name is told before the slow imports
    kind = "quantized" if is_quantized_file(options["weights"]) else options["weights"]
    refuse_without_effect(_given(), for_jetson, kind, bool(options["data"]))
    may_be_empty = ("weights", "model", "width", "name", "class_order")  # by a script whose variable is unset
    options |= {name: options[name] or None for name in may_be_empty}

    from repghost.api.compiled import compile as compile_network

    model, weights = options.pop("model"), options.pop("weights")
    network, its_weights = (model, weights or "") if model else (weights, None)
    made = compile_network(network, weights=its_weights, say=say_progress, **options)
    found, _, commands = made.summary.partition("\nnext:\n")
    say_progress("")
    say_summary(str(made.folder), *found.rstrip("\n").split("\n"))
    say_next(*(line.strip() for line in commands.splitlines()))


def _given() -> set[str]:
    """Return the options that stand in the command line, by the names they have there."""
    context = click.get_current_context()
    return {
        parameter.opts[0].removeprefix("--").replace("-", "_")
        for parameter in context.command.params
        if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    }
