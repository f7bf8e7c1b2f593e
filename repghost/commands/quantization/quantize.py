"""`repghost quantize`: calibrate a checkpoint on images and write its int8 form as QDQ ONNX."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost import terminal
from repghost.commands.options.calibration import detector_commands, tell_quantized
from repghost.commands.options.quant_options import CalibrationRequest, calibration_options, output_option
from repghost.errors import UsageError
from repghost.sizes import size_text
from repghost.terminal import say, say_next, say_progress, say_summary

if TYPE_CHECKING:
    from calib.ptq.search_settings import Trial
    from repghost.api.quantized import QuantizedNetwork

AUTO = "auto"
DEFAULT_HELD_OUT = 2000


@click.command("quantize", short_help="Calibrate a float network and write int8 QDQ ONNX.")
@calibration_options
@click.option("--algorithm", help="An observer, 'answers' (one per tensor), or 'auto' (a search; needs labels).")
@click.option("--max-drop", type=float, help="With auto: points of top-1 that may be lost.  [default: 0.3]")
@click.option(
    "--held-out", type=click.IntRange(1), help=f"With auto: pictures to evaluate on.  [default: {DEFAULT_HELD_OUT}]"
)
@output_option
def command(
    request: CalibrationRequest, algorithm: str | None, max_drop: float | None, held_out: int | None, output: Path
) -> None:
    """Quantize NETWORK to int8 with scales calibrated on pictures, and write a QDQ ONNX file.

    NETWORK is a checkpoint of RepGhostNet, the word timm with --width or bundled, a float ONNX file, or the name of any
    network of a library: timm:mobilenetv3_large_100 or torchvision:resnet18, with --weights. Batch norms and branches
    are folded first. The file holds its Preprocess, labels and settings; the settings are also written beside it, as
    JSON for --config.

    With --algorithm auto, the levers are tried in order of what they cost, each evaluated on labelled pictures of the
    same split that calibrate nothing, and the cheapest is kept that loses at most --max-drop points. Where none does,
    nothing is written and the exit code is 3. The last of them are the layers that gain most by it in 16-bit
    activations; with --policy tensorrt, layers in float.
    """
    from repghost.api.accepted.coco_images import calibrating_images
    from repghost.api.quantization import quantize

    if algorithm != AUTO and (max_drop is not None or held_out is not None):
        raise UsageError("--max-drop and --held-out belong to --algorithm auto, which is not given.")
    if algorithm == AUTO:
        say(f"{'lever':56} {'points lost':>11}  {'95 % interval':>15}  same answer  costs")
    listed = calibrating_images(request.checkpoint, request.data, request.split)
    data = request.images_of_set() if listed is None else listed
    made = quantize(
        request.checkpoint, data, algorithm=algorithm, max_drop=max_drop, held_out=held_out,
        on_trial=_echo_trial, **request.options(),
    )  # fmt: skip
    tell_quantized(made, request)
    made.save(output)
    for note in made.quantized.spec.notes:
        say_progress(f"note: {note}")
    if terminal.verbose:
        for tensor, observer in made.quantized.spec.observers.items():
            say(f"{tensor}: {observer} changes the answers least")
    _summary(output, made)
    say_next(*_next_commands(request, output, made))


def _echo_trial(trial: Trial) -> None:
    change = trial.difference
    interval = f"{-100 * change.high:.2f} .. {-100 * change.low:.2f}"
    agreement = f"{change.agreeing / change.pictures:.2%}"
    say(f"{trial.name:56} {trial.drop_points:11.2f}  {interval:>15}  {agreement:>11}  {trial.cost}")


def _summary(output: Path, made: QuantizedNetwork) -> None:
    from repghost.api.quantized import config_beside

    written = f"written: {output} ({output.stat().st_size / 1e6:.2f} MB) and {config_beside(output).name}"
    accuracy = "accuracy: not measured here"
    if made.search is not None:
        chosen = made.search.chosen
        held = chosen.difference.pictures
        accuracy = f"chosen: {chosen.name}, by {held} held-out pictures; accuracy on others: not measured here"
    say_summary("quantized", written, f"{made.about}; {accuracy}", f"program digest: {made.digest}")


def _next_commands(request: CalibrationRequest, output: Path, made: QuantizedNetwork) -> list[str]:
    """Return what the user can run with the file, or to compile the checkpoint with the same options."""
    from repghost.api.quantized import config_beside

    if made.config.policy == "tensorrt":
        plan = output.with_suffix(".plan")
        return [
            shlex.join(["trtexec", f"--onnx={output}", "--stronglyTyped", f"--saveEngine={plan}"])
            + "  (on the Jetson; TensorRT 8: --int8 --fp16 instead of --stronglyTyped)"
        ]
    if made.network.detection is not None:
        return detector_commands(request, output)
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
        "--val-share": request.val_share,
    }
    for option, value in same.items():
        build += [] if value is None else [option, str(value)]
    return [shlex.join(build), shlex.join(["repghost", "explain", str(output)])]
