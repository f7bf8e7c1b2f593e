"""`repghost quantize`: calibrate a checkpoint on images and write its int8 form as QDQ ONNX."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.calibration import Calibration, open_calibration, progress_bar, read_images
from repghost.commands.options.quant_options import CalibrationRequest, calibration_options, output_option
from repghost.errors import UsageError, unknown_value
from repghost.sizes import size_text
from repghost.terminal import say

if TYPE_CHECKING:
    from calib.ptq.search_settings import Search, Trial
    from calib.quantize import Quantized, Source
    from calib.settings.config import QuantConfig

AUTO, PREDICTIONS = "auto", "answers"
CONFIG_SUFFIX = ".config.json"
DEFAULT_HELD_OUT = 2000


@click.command("quantize", short_help="Calibrate a float network and write int8 QDQ ONNX.")
@calibration_options
@click.option("--algorithm", help="An observer, 'answers' (one per tensor), or 'auto' (a search; needs labels).")
@click.option("--max-drop", type=float, help="With auto: points of top-1 that may be lost.  [default: 0.3]")
@click.option(
    "--held-out", type=click.IntRange(1), help=f"With auto: pictures that judge.  [default: {DEFAULT_HELD_OUT}]"
)
@output_option
def command(
    request: CalibrationRequest, algorithm: str | None, max_drop: float | None, held_out: int | None, output: Path
) -> None:
    """Quantize NETWORK to int8 with scales calibrated on pictures, and write a QDQ ONNX file.

    NETWORK is a checkpoint of RepGhostNet, the word timm with --width, a float ONNX file, or the name of any network of
    a library: timm:mobilenetv3_large_100 or torchvision:resnet18, with --weights. Batch norms and branches are folded
    first. The file holds its Preprocess, labels and settings; the settings are also written beside it, as JSON for
    --config.

    With --algorithm auto, the levers are tried in order of what they cost, each judged on labelled pictures of the
    same split that calibrate nothing, and the cheapest is kept that loses at most --max-drop points. Where none does,
    nothing is written and the exit code is 3. Layers in float are the last of them, with --policy tensorrt alone.
    """
    if algorithm != AUTO and (max_drop is not None or held_out is not None):
        raise UsageError("--max-drop and --held-out belong to --algorithm auto, which is not given.")
    config = with_algorithm(request.settings(), algorithm)

    from calib.quantize import Source

    opened = open_calibration(request)
    calibration = {"data": request.data.name, "split": opened.split, "seed": request.seed}
    calibration |= {"broken": len(opened.prepared.broken)}
    source = Source(opened.labels, opened.network.digest, calibration)
    search: Search | None = None
    if algorithm == AUTO:
        wanted = 0.3 if max_drop is None else max_drop
        if not math.isfinite(wanted):
            raise UsageError(f"--max-drop is a finite number of points, not {wanted}.")
        result, search = _search(opened, config, source, wanted, held_out, request.seed)
        config = search.chosen.config
    else:
        result = _calibrate(opened, config, source)
    write_result(output, result, config, search)
    _summary(output, len(opened.prepared.images), config, result, search)
    say("next:")
    for line in _next_commands(request, output, config.policy):
        say(f"  {line}")


def with_algorithm(config: QuantConfig, algorithm: str | None) -> QuantConfig:
    """Return the settings with an algorithm's observers for every layer that has no entry of its own.

    Raises:
        UsageError: when there is no such algorithm.
    """
    from calib.observers import OBSERVERS

    if algorithm is None or algorithm == AUTO:
        return config
    if algorithm == PREDICTIONS:
        return replace(config, ranges_by_answers=True)
    if algorithm not in OBSERVERS:
        raise unknown_value("algorithm", algorithm, (*OBSERVERS, PREDICTIONS, AUTO))
    return replace(config, defaults=replace(config.defaults, observer=algorithm), ranges_by_answers=False)


def config_beside(output: Path) -> Path:
    """Return where the settings of a file are written: net.qdq.onnx has net.qdq.config.json beside it."""
    return output.with_name(output.name.removesuffix(".onnx") + CONFIG_SUFFIX)


def write_result(output: Path, result: Quantized, config: QuantConfig, search: Search | None) -> None:
    """Write the settings, then the file, each whole or not at all."""
    from calib.qdq.writer import serialize
    from calib.settings.config import SEARCH
    from repghost.files import write_bytes_atomically, write_text_atomically
    from repghost.locks import locked

    settings = config.to_dict() | ({} if search is None else {SEARCH: search.to_dict()})
    with locked(output):  # the two belong together
        write_text_atomically(config_beside(output), json.dumps(settings, indent=2) + "\n")
        write_bytes_atomically(output, serialize(result.onnx))
    for note in result.spec.notes:
        say(f"note: {note}")
    for tensor, observer in result.spec.observers.items():
        say(f"note: {tensor}: {observer} changes the answers least")


def _calibrate(opened: Calibration, config: QuantConfig, source: Source) -> Quantized:
    from calib.quantize import quantize_network

    images, network = opened.prepared.images, opened.network
    with progress_bar(len(images), "calibrate", "picture") as bar:
        return quantize_network(network.name, network.graph, images, network.preprocess, config, source, bar.update)


def _search(
    opened: Calibration, config: QuantConfig, source: Source, max_drop: float, held_out: int | None, seed: int
) -> tuple[Quantized, Search]:
    """Return the file of the settings that the search kept, and what it tried."""
    from calib.ptq.search_settings import SearchImages, search_settings
    from calib.quantize import describe_source, write_model
    from calib.settings.config import SEARCH
    from repghost.data.subset import choose_balanced

    left = len(opened.dataset) - len(opened.chosen)
    count = min(DEFAULT_HELD_OUT, left) if held_out is None else held_out
    if left == 0:
        raise UsageError(
            f"all {len(opened.dataset)} pictures calibrate, and a search needs others to judge with. Give fewer "
            "--images, or --data a larger set."
        )
    evaluates = choose_balanced(opened.dataset.labels, count, seed + 1, opened.chosen)
    prepared = read_images(opened.dataset, opened.preprocess, evaluates, "read held-out pictures")
    say(f"{'lever':56} {'points lost':>11}  {'95 % interval':>15}  same answer  costs")
    images = SearchImages(opened.prepared.images, prepared.images, prepared.labels, opened.preprocess)
    found = search_settings(opened.network.graph, images, config, max_drop, _echo_trial)
    description = describe_source(opened.network.name, images.calibration, opened.preprocess, source)
    record = {SEARCH: found.to_dict()}
    return write_model(found.graph, found.spec, found.chosen.config, description, record), found


def _echo_trial(trial: Trial) -> None:
    change = trial.difference
    interval = f"{-100 * change.high:.2f} .. {-100 * change.low:.2f}"
    agreement = f"{change.agreeing / change.pictures:.2%}"
    say(f"{trial.name:56} {trial.drop_points:11.2f}  {interval:>15}  {agreement:>11}  {trial.cost}")


def _summary(output: Path, images: int, config: QuantConfig, result: Quantized, search: Search | None) -> None:
    from calib.settings.describe import describe_observers

    say(f"written: {output} ({output.stat().st_size / 1e6:.2f} MB) and {config_beside(output).name}")
    accuracy = "accuracy: not measured here"
    if search is not None:
        held = search.chosen.difference.pictures
        accuracy = f"chosen: {search.chosen.name}, by {held} held-out pictures; accuracy on others: not measured here"
    observers = describe_observers({"config": config.to_dict(), "observers": result.spec.observers})
    say(f"policy {config.policy}, {observers}, {images} pictures; {accuracy}")
    say(f"program digest: {result.digest}")


def _next_commands(request: CalibrationRequest, output: Path, policy: str) -> list[str]:
    """Return what the user can run with the file, or to compile the checkpoint with the same options."""
    if policy == "tensorrt":
        plan = output.with_suffix(".plan")
        return [
            shlex.join(["trtexec", f"--onnx={output}", "--stronglyTyped", f"--saveEngine={plan}"])
            + "  (on the Jetson; TensorRT 8: --int8 --fp16 instead of --stronglyTyped)"
        ]
    build = ["repghost", "compile", "--target", "arm64", "--data", str(request.data)]
    build += ["--model" if request.weights else "--weights", request.checkpoint]
    same: dict[str, Any] = {
        "--weights": request.weights,
        "--width": request.width,
        "--size": None if request.size is None else size_text(request.size),
        "--images": request.images,
        "--seed": request.seed or None,
        "--preprocess": request.preprocess,
        "--config": config_beside(output),
        "--class-order": request.class_order,
        "--class-map": request.class_map,
    }
    for option, value in same.items():
        build += [] if value is None else [option, str(value)]
    return [shlex.join(["repghost", "explain", str(output)]), shlex.join(build)]
