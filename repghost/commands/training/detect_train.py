"""`repghost detect-train`: train SSDLite, RetinaNet or Mask R-CNN with a RepGhostNet backbone on data like COCO's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repghost.commands.options.process_options import (
    ProcessOptions,
    process_options,
    processes_option,
    quiet_but_first,
    start_processes,
)
from repghost.commands.progress.detect import DetectProgress
from repghost.commands.progress.notes import say_notes
from repghost.errors import UsageError
from repghost.terminal import say, say_next, shell_command

_OPTIONS = (
    click.option("--data", required=True, type=click.Path(path_type=Path),
                 help="Folder with annotations/instances_SPLIT.json and the pictures in SPLIT/."),
    click.option("--detector", default="retinanet", show_default=True, help="ssdlite, retinanet or maskrcnn."),
    click.option("--pretrained", is_flag=False, flag_value="timm", help="Backbone of a checkpoint, or timm's."),
    click.option("--train-split", default="train2017", show_default=True, help="What is trained on."),
    click.option("--val-split", default="val2017", show_default=True, help="Evaluates each epoch; '': none."),
    click.option("--output", "-o", default="runs/detect", show_default=True, type=click.Path(path_type=Path),
                 help="Folder for detector.safetensors, state.pt and log.jsonl."),
    click.option("--resume", is_flag=False, flag_value="continue", default="new",
                 help="Go on with the run in --output; 'auto' starts one where there is none."),
    click.option("--workers", "-j", default=4, show_default=True, type=click.IntRange(0),
                 help="Processes that decode."),
    click.option("--broken-limit", default=50, show_default=True, type=click.IntRange(0),
                 help="Pictures that may be broken."),
    click.option("--recovery-interval", default=0, type=click.IntRange(0), help="Batches between states in an epoch."),
    click.option("--width", default="1.0", show_default=True, help="Of the backbone."),
    click.option("--epochs", type=int, help="Passes over the pictures.  [default: 12]"),
    click.option("--batch", "-b", type=int, help="Pictures per step and process.  [default: 2; ssdlite: 16]"),
    click.option("--learning-rate", "--lr", "learning_rate", type=float,
                 help="After the warm-up.  [default: 0.01 (RetinaNet) or 0.02 (others) per 16 pictures]"),
    click.option("--momentum", type=float, help="Of SGD.  [default: 0.9]"),
    click.option("--weight-decay", type=float, help="Of SGD.  [default: 1e-4]"),
    click.option("--milestones", help="Epochs after which the rate is divided by 10.  [default: 8,11]"),
    click.option("--sched", help="step or cosine.  [default: step, at --milestones]"),
    click.option("--warmup-steps", type=int, help="Until the whole rate is reached.  [default: 500]"),
    click.option("--clip-grad", type=float, help="Limit of the gradient's norm.  [default: 10]"),
    click.option("--accumulate", "--grad-accum-steps", "accumulate", type=int, help="Batches per step.  [default: 1]"),
    click.option("--amp-dtype", help="float16, bfloat16 or off.  [default: off]"),
    click.option("--model-ema/--no-model-ema", "--ema/--no-ema", "ema", default=None, help="Average the weights."),
    click.option("--model-ema-decay", "--ema-decay", "ema_decay", type=float, help="Of the average.  [default: 0.998]"),
    click.option("--model-ema-warmup/--no-model-ema-warmup", "--ema-warmup/--no-ema-warmup", "ema_warmup", default=None,
                 help="At first the average covers the latest steps only.  [default: yes]"),
    click.option("--flip", type=float, help="Probability of mirroring.  [default: 0.5]"),
    click.option("--crop", type=float, help="Of ssdlite: probability of a part or a larger canvas.  [default: 0.5]"),
    click.option("--colour", type=float, help="Of ssdlite: change of brightness and contrast.  [default: 0.3]"),
    click.option("--min-size", type=int, help="Short side of the pictures, in pixels.  [default: 800; ssdlite: 320]"),
    click.option("--max-size", type=int, help="Limit of their long side.  [default: 1333]"),
    click.option("--freeze", help="none, stem, 'stride 4', ... 'stride 32'.  [default: stem, or none without weights]"),
    click.option("--train-norm/--fixed-norm", "train_norm", default=None,
                 help="Batch norms follow the batches; by default only where the backbone begins at random."),
    click.option("--seed", type=int, help="The start of every random choice.  [default: 0]"),
)  # fmt: skip


def _with_options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("detect-train", short_help="Train a detector on data in COCO's format.")
@_with_options
@processes_option
@process_options
def command(data: Path, milestones: str | None, count: int | None, processes: ProcessOptions, **values: Any) -> None:
    """Train a detector and write OUTPUT/detector.safetensors.

    The defaults are the customary 12 epochs at 800 pixels; docs/training.md has the recipe. Several processes:
    --processes N on this machine, or torchrun --nproc-per-node=N -m repghost detect-train ...
    """
    start_processes(count)
    from repghost.api.training.detection import train_detector

    shown, split = DetectProgress(), values["val_split"] or values["train_split"]
    with quiet_but_first():
        found = train_detector(
            data, milestones=_epochs(milestones), on_begin=shown.begin, on_step=shown.step, on_epoch=shown.epoch,
            say=lambda note: say_notes([note]), **values, **vars(processes),
        )  # fmt: skip
        say(*found.lines)
        after = ["detect-export", found.path, "-o", found.path.with_name("pyramid.onnx")]
        if found.detector.recipe.kind == "ssdlite":
            same = ["--data", data, "--split", values["train_split"]]
            after = ["quantize", found.path, *same, "-o", found.path.with_suffix(".qdq.onnx")]
        say_next(
            shell_command("repghost", "detect-validate", found.path, "--data", data, "--split", split),
            shell_command("repghost", *after),
        )


def _epochs(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of a comma-separated list.

    Raises:
        UsageError: when they are none.
    """
    try:
        return None if text is None else tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise UsageError(f"--milestones {text!r} must be epochs, e.g. 8,11.") from error
