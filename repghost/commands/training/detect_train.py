"""`repghost detect-train`: train RetinaNet or Mask R-CNN with a RepGhostNet backbone on data in COCO's format."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.process_options import ProcessOptions, process_options
from repghost.commands.progress.notes import say_notes
from repghost.terminal import say, shell_command

if TYPE_CHECKING:
    from repghost.detection.recipe import DetectionRecipe
    from repghost.detection.state import DetectionEpoch
    from repghost.detection.train import DetectionHooks

LOG_INTERVAL = 10.0  # seconds between two lines


@dataclass(frozen=True)
class DetectRequest:
    """Options of the command that are not values of the recipe, each under its own name."""

    data: Path
    kind: str
    pretrained: str | None
    train_split: str
    val_split: str
    output: Path
    resume: str | None
    workers: int
    broken_limit: int


_FIELDS = (
    click.option("--width", default="1.0", show_default=True, help="Of the backbone."),
    click.option("--epochs", type=int, help="[default: 12]"),
    click.option("--batch", "-b", type=int, help="Pictures per step and process.  [default: 2]"),
    click.option("--lr", "learning_rate", type=float,
                 help="After the warm-up.  [default: 0.01 (RetinaNet) or 0.02 (Mask R-CNN) per 16 pictures]"),
    click.option("--momentum", type=float, help="[default: 0.9]"),
    click.option("--weight-decay", type=float, help="[default: 1e-4]"),
    click.option("--milestones", help="Epochs after which the rate is divided by 10.  [default: 8,11]"),
    click.option("--warmup-steps", type=int, help="[default: 500]"),
    click.option("--clip-grad", type=float, help="Limit of the gradient's norm; none by default."),
    click.option("--flip", type=float, help="Probability of mirroring.  [default: 0.5]"),
    click.option("--min-size", type=int, help="Short side of the pictures, in pixels.  [default: 800]"),
    click.option("--max-size", type=int, help="Limit of their long side.  [default: 1333]"),
    click.option("--freeze", help="none, stem, 'stride 4', ... 'stride 32'.  [default: stem, or none without weights]"),
    click.option("--train-norm/--fixed-norm", "train_norm", default=None,
                 help="Batch norms follow the batches; by default only where the backbone begins at random."),
    click.option("--seed", type=int, help="[default: 0]"),
)  # fmt: skip


def _with_fields(function: Any) -> Any:
    for option in reversed(_FIELDS):
        function = option(function)
    return function


@click.command("detect-train", short_help="Train a detector on data in COCO's format.")
@click.option("--data", required=True, type=click.Path(path_type=Path),
              help="Folder with annotations/instances_SPLIT.json and the pictures in SPLIT/.")  # fmt: skip
@click.option("--detector", "kind", default="retinanet", show_default=True, help="retinanet or maskrcnn.")
@click.option("--pretrained", is_flag=False, flag_value="timm", help="Backbone of a checkpoint, or timm's.")
@click.option("--train-split", default="train2017", show_default=True)
@click.option("--val-split", default="val2017", show_default=True, help="Judges each epoch; '' judges none.")
@click.option("--output", "-o", default="runs/detect", show_default=True, type=click.Path(path_type=Path),
              help="Folder for detector.safetensors, state.pt and log.jsonl.")  # fmt: skip
@click.option("--resume", is_flag=False, flag_value="continue",
              help="Go on with the run in --output; 'auto' starts one where there is none.")  # fmt: skip
@click.option("--workers", "-j", default=4, show_default=True, type=click.IntRange(0), help="Processes that decode.")
@click.option("--broken-limit", default=50, show_default=True, type=click.IntRange(0))
@process_options
@_with_fields
def command(processes: ProcessOptions, **options: Any) -> None:
    """Train a detector and write OUTPUT/detector.safetensors.

    The defaults are the customary 12 epochs at 800 pixels; docs/training.md has the recipe. Several processes:
    torchrun --nproc-per-node=N -m repghost.cli detect-train ...
    """
    from repghost.detection.coco import open_coco
    from repghost.detection.train import MODEL_FILE, DetectionOptions, train
    from repghost.errors import UsageError
    from repghost.training.suit import few_steps
    from repghost.training.transfer import read_start

    names = {field.name for field in fields(DetectRequest)}
    request = DetectRequest(**{name: options.pop(name) for name in names})
    if request.resume not in (None, "continue", "auto"):
        raise UsageError(
            f"--resume {request.resume!r} is not understood; allowed: --resume or --resume auto, with --output."
        )
    if request.val_split == request.train_split:
        raise UsageError(
            f"--val-split {request.val_split!r} is trained on, and no picture may do both; give another one, or "
            "--val-split '' to judge none."
        )
    recipe = _recipe(request.kind, options, request.pretrained is not None)
    masks = request.kind == "maskrcnn"
    with processes.join() as ranks:
        dataset = open_coco(request.data, request.train_split, masks)
        validation = None
        if request.val_split:
            validation = open_coco(request.data, request.val_split, masks).matched(dataset.categories)
        weights = read_start(request.pretrained, recipe.width) if request.pretrained else None
        steps = recipe.epochs * (len(dataset.trainable()) // (recipe.batch * ranks.count))
        if ranks.first:
            say_notes(
                (
                    few_steps(steps, recipe.warmup_steps),
                    *(weights.notes if weights else ()),
                    *(validation.notes if validation else ()),
                )
            )
        beside = DetectionOptions(request.resume or "new", weights, ranks, request.workers, request.broken_limit)
        with _follow(recipe, quiet=not ranks.first) as hooks:
            _, history = train(recipe, dataset, request.output, hooks, validation, beside)
    if ranks.first:
        _tell(request, history[-1], request.output / MODEL_FILE)


def _tell(request: DetectRequest, last: DetectionEpoch, path: Path) -> None:
    """Print what came out, and what comes next."""
    if last.boxes is None:
        say("average precision: not measured; give --val-split")
    else:
        say(f"average precision: boxes {_share(last.boxes.ap)}, at overlap 0.5 {_share(last.boxes.ap50)}")
    say(f"written: {path}")
    say("next:")
    split = request.val_split or request.train_split
    say("  " + shell_command("repghost", "detect-validate", path, "--data", request.data, "--split", split))
    say("  " + shell_command("repghost", "detect-export", path, request.output / "pyramid.onnx"))


def _recipe(kind: str, given: dict[str, Any], pretrained: bool) -> DetectionRecipe:
    """Return the recipe of the command line."""
    from repghost.detection.recipe import DetectionRecipe
    from repghost.errors import UsageError
    from repghost.network.spec import parse_width

    values = {name: value for name, value in given.items() if value is not None}
    values["width"] = parse_width(values["width"], custom=True)
    if "milestones" in values:
        try:
            values["milestones"] = tuple(int(part) for part in values["milestones"].split(",") if part)
        except ValueError as error:
            raise UsageError(f"--milestones {values['milestones']!r} must be epochs, e.g. 8,11.") from error
    if not pretrained:  # random batch norms and stems have nothing worth keeping
        values = {"freeze": "none", "train_norm": True, **values}
    return DetectionRecipe(kind=kind, **values)


def _share(value: float | None) -> str:
    return "none there" if value is None else f"{value:.2%}"


@contextlib.contextmanager
def _follow(recipe: DetectionRecipe, quiet: bool) -> Iterator[DetectionHooks]:
    """Give hooks that print and that stop on SIGINT or SIGTERM; a second signal acts at once."""
    from repghost.detection.train import DetectionHooks, DetectionStoppedError

    received: list[int] = []
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, old[signal.Signals(number)])

    for number in old:
        signal.signal(number, note)
    lines = _Lines(recipe.epochs)
    try:
        if quiet:
            yield DetectionHooks(should_stop=lambda: bool(received))
        else:
            yield DetectionHooks(lines.step, lines.epoch, lambda: bool(received))
    except DetectionStoppedError as error:
        error.exit_code = 128 + (received[0] if received else signal.SIGTERM)  # as a shell reports a signal
        raise
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Lines:
    """One line every few seconds and one per epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.printed = epochs, 0.0

    def step(self, epoch: int, step: int, steps: int, loss: float, rate: float) -> None:
        """Show one step."""
        if time.monotonic() - self.printed > LOG_INTERVAL:
            self.printed = time.monotonic()
            say(f"epoch {epoch + 1}/{self.epochs} step {step + 1}/{steps} loss {loss:.3f} rate {rate:.2g}", err=True)

    def epoch(self, record: DetectionEpoch) -> None:
        """Show what an epoch achieved."""
        evaluated = "" if record.boxes is None else f", AP of boxes {_share(record.boxes.ap)}"
        if record.masks is not None:
            evaluated += f", of masks {_share(record.masks.ap)}"
        speed = f"{record.pictures_per_second:.2f} pictures/s"
        say(f"epoch {record.epoch}/{self.epochs}: loss {record.loss:.4f}{evaluated}, {speed}", err=True)
