"""`repghost detect-train`: train RetinaNet or Mask R-CNN with a RepGhostNet backbone on data in COCO's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.gather import gather
from repghost.commands.options.process_options import ProcessOptions, process_options
from repghost.commands.progress.detect import follow, percent
from repghost.commands.progress.notes import say_notes
from repghost.terminal import say, shell_command

if TYPE_CHECKING:
    from repghost.detection.recipe import DetectionRecipe
    from repghost.detection.state import DetectionEpoch


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


_request_options = gather("request", DetectRequest, (
    click.option("--data", required=True, type=click.Path(path_type=Path),
                 help="Folder with annotations/instances_SPLIT.json and the pictures in SPLIT/."),
    click.option("--detector", "kind", default="retinanet", show_default=True, help="retinanet or maskrcnn."),
    click.option("--pretrained", is_flag=False, flag_value="timm", help="Backbone of a checkpoint, or timm's."),
    click.option("--train-split", default="train2017", show_default=True),
    click.option("--val-split", default="val2017", show_default=True, help="Judges each epoch; '' judges none."),
    click.option("--output", "-o", default="runs/detect", show_default=True, type=click.Path(path_type=Path),
                 help="Folder for detector.safetensors, state.pt and log.jsonl."),
    click.option("--resume", is_flag=False, flag_value="continue",
                 help="Go on with the run in --output; 'auto' starts one where there is none."),
    click.option("--workers", "-j", default=4, show_default=True, type=click.IntRange(0),
                 help="Processes that decode."),
    click.option("--broken-limit", default=50, show_default=True, type=click.IntRange(0)),
))  # fmt: skip
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
@_request_options
@process_options
@_with_fields
def command(request: DetectRequest, processes: ProcessOptions, **values: Any) -> None:
    """Train a detector and write OUTPUT/detector.safetensors.

    The defaults are the customary 12 epochs at 800 pixels; docs/training.md has the recipe. Several processes:
    torchrun --nproc-per-node=N -m repghost.cli detect-train ...
    """
    from repghost.detection.coco import open_coco
    from repghost.detection.train import MODEL_FILE, DetectionOptions, train
    from repghost.errors import UsageError
    from repghost.training.suit import few_steps
    from repghost.training.transfer import read_start

    if request.resume not in (None, "continue", "auto"):
        raise UsageError(
            f"--resume {request.resume!r} is not understood; allowed: --resume or --resume auto, with --output."
        )
    if request.val_split == request.train_split:
        raise UsageError(
            f"--val-split {request.val_split!r} is trained on, and no picture may do both; give another one, or "
            "--val-split '' to judge none."
        )
    recipe = _recipe(request.kind, values, request.pretrained is not None)
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
        with follow(recipe, quiet=not ranks.first) as hooks:
            _, history = train(recipe, dataset, request.output, hooks, validation, beside)
    if ranks.first:
        _tell(request, history[-1], request.output / MODEL_FILE)


def _tell(request: DetectRequest, last: DetectionEpoch, path: Path) -> None:
    """Print what came out, and what comes next."""
    if last.boxes is None:
        say("average precision: not measured; give --val-split")
    else:
        say(f"average precision: boxes {percent(last.boxes.ap)}, at overlap 0.5 {percent(last.boxes.ap50)}")
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
