"""`repghost train`: train a network by a named recipe and write its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.data_options import class_map_option, class_order_option, tell_notes
from repghost.commands.options.process_options import processes_option, start_processes
from repghost.commands.options.train_flags import PREPROCESS_FLAGS, changed_preprocess, recipe_options
from repghost.commands.progress.notes import say_notes
from repghost.commands.training.train_qat import continue_quantized, qat_settings
from repghost.errors import UsageError
from repghost.terminal import say, shell_command

if TYPE_CHECKING:
    from repghost.data import ImageSet
    from repghost.distributed.ranks import Ranks
    from repghost.training.options import Loss, Options
    from repghost.training.recipe import Recipe
    from repghost.training.train import TrainResult

# Flags of images that are decoded again in every epoch.
_LOADING = {"workers", "pin_mem", "validation_batch_size_multiplier", "broken_limit", "val_split", "val_data"}


@dataclass(frozen=True)
class _Finished:
    """A finished run: the recipe as it suited its images and this machine, and the test split to evaluate on."""

    recipe: Recipe
    result: TrainResult
    dataset: ImageSet
    test: ImageSet | None
    untested: str  # why there is no test split


@click.command("train", short_help="Train a network by a named recipe.")
@click.option("--data", "--data_dir", "--data-dir", "data", required=True, type=click.Path(path_type=Path),
              help="A set of pictures (see the README).")  # fmt: skip
@click.option(
    "--recipe", "recipe_name", default="demo", show_default=True, help="imagenet, imagenet-wide, finetune, demo, cifar."
)
@click.option("--output", "-o", default="runs/train", show_default=True, type=click.Path(path_type=Path),
              help="Folder of the weights, the state, the log and the plot.")  # fmt: skip
@click.option("--experiment", help="A folder of this name in --output.")
@click.option("--resume", is_flag=False, flag_value="continue",
              help="Continue the run in --output or a given folder; 'auto' starts one if there is none.")  # fmt: skip
@click.option("--train-split", default="train", show_default=True, help="Which part of the set is trained on.")
@click.option("--val-split", help="Which part judges, where nothing is held out.  [default: val]")
@click.option("--val-data", type=click.Path(path_type=Path),
              help="A set of its own that judges each epoch; WebDataset shards of --data need one.")  # fmt: skip
@click.option("--pretrained", "--initial-checkpoint", "pretrained", is_flag=False, flag_value="timm",
              help="Begin with the weights of a checkpoint, or with timm's.")  # fmt: skip
@click.option("--teacher-weights", help="Of a teacher that is named: a weight file.  [default: the published ones]")
@click.option("--num-classes", type=click.IntRange(1), help="At least as many as the pictures have.")
@click.option("--amp", "--native-amp", "mixed", is_flag=True, help="Mixed precision: --amp-dtype float16.")
@click.option("--workers", "-j", type=click.IntRange(0), help="Processes that decode.  [default: 4, or one per core]")
@click.option("--pin-mem", is_flag=True, default=None, help="Lock pages for faster copies to a GPU.")
@click.option("--validation-batch-size-multiplier", "-vb", type=click.IntRange(1), help="Judging batch / batch.")
@click.option("--broken-limit", type=click.IntRange(0), help="Pictures that may be broken.  [default: 50]")
@click.option("--recovery-interval", default=0, type=click.IntRange(0), help="Batches between states in an epoch.")
@click.option("--log-interval", type=click.IntRange(1), help="Batches between looks at a GPU's loss.  [default: 50]")
@click.option("--tensorboard/--no-tensorboard", default=None, help="Events for TensorBoard.  [default: if installed]")
@processes_option
@click.option("--device", help="cpu or cuda; a GPU by default where there is one.")
@click.option("--dist-timeout", type=click.FloatRange(1), help="Seconds to wait for other processes.  [default: 600]")
@click.option("--qat", "qat_mode", metavar="MODE",
              help="Go on under quantization: fused, or reparam; writes OUTPUT/model.qdq.onnx.")  # fmt: skip
@click.option("--qat-epochs", type=click.IntRange(1), help="Passes under quantization.  [default: 4]")
@click.option("--qat-images", type=click.IntRange(1), help="Pictures of such a pass.  [default: 12500]")
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice by default.")
@class_order_option
@class_map_option
@recipe_options
def command(
    data: Path, recipe_name: str, output: Path, experiment: str | None, threads: int | None, **given: Any
) -> None:
    """Train a RepGhostNet and write OUTPUT/model.safetensors.

    Each epoch is judged by training pictures that are held out (demo) or by --val-split. The set's test split, if
    there is one, is used once, after the last epoch, for the figure that is written into the checkpoint.

    Several processes: --processes N on this machine, or torchrun --nproc-per-node=N -m repghost.cli train ...
    """
    start_processes(given.pop("count"))
    import torch

    from repghost.distributed.ranks import TIMEOUT, join

    if threads is not None:
        torch.set_num_threads(threads)
    given = {key: value for key, value in given.items() if value is not None}
    folder = _folder(output / experiment if experiment else output, given)
    recipe = _recipe(recipe_name, given)
    settings = qat_settings(given.get("qat_mode"), given.get("qat_epochs"), given.get("qat_images"), recipe.seed)
    with join(given.get("device"), given.get("dist_timeout", TIMEOUT)) as ranks:
        if "dist_timeout" in given and ranks.count == 1:
            raise UsageError("--dist-timeout has no effect with one process; leave it out or start with torchrun.")
        run = _train(recipe, data, folder, given, ranks)
    if ranks.first:
        _report(run, data, folder, given.get("num_classes"))
        if settings is not None:
            continue_quantized(folder, run.recipe, run.dataset, data, settings)


def _folder(output: Path, given: dict[str, Any]) -> Path:
    """Return the folder of the run; a path given to --resume names it, and becomes "continue" in `given`."""
    from repghost.training.train import STATE_FILE

    resume = given.get("resume", "new")
    if resume in ("new", "continue", "auto"):
        return output
    folder = Path(resume).parent if resume.endswith(STATE_FILE) else Path(resume)
    if not (folder / STATE_FILE).is_file():
        raise UsageError(
            f"--resume {resume}: there is no {STATE_FILE}; give --resume, --resume auto, or the folder of a run."
        )
    given["resume"] = "continue"
    return folder


def _recipe(name: str, given: dict[str, Any]) -> Recipe:
    """Return the recipe of the command line."""
    from repghost.commands.options.train_flag_checks import refuse_without_effect
    from repghost.commands.options.train_flags import FLAGS
    from repghost.training.recipe import get_recipe

    recipe = get_recipe(name)
    values = {flag.sets: given[flag.sets] for flag in FLAGS if flag.sets in given}
    if given["mixed"]:
        if values.get("amp", "float16") != "float16":
            raise UsageError("--amp is --amp-dtype float16; leave one of them out.")
        values["amp"] = "float16"
    if "width" in values:  # the original writes repghost.repghostnet_0_5x
        values["width"] = str(values["width"]).removeprefix("repghost.")
    images = {flag.sets: given[flag.sets] for flag in PREPROCESS_FLAGS if flag.sets in given}
    if images:
        values["preprocess"] = changed_preprocess(recipe, images)
    recipe = recipe.changed(**values)
    refuse_without_effect(recipe, values)
    return recipe


def _train(recipe: Recipe, data: Path, folder: Path, given: dict[str, Any], ranks: Ranks) -> _Finished:
    """Open the images and train.

    Args:
        recipe: of the command line.
        data: the set of images.
        folder: of the run.
        given: the other options that the user gave, by name.
        ranks: this process among the others.
    """
    from repghost.commands.progress.train import follow
    from repghost.data import open_dataset
    from repghost.data.names.class_names import CHARACTERS
    from repghost.evaluation.classes import match_classes
    from repghost.training.feeds.choose import open_validation
    from repghost.training.follow.hooks import joined
    from repghost.training.follow.plot import plotting
    from repghost.training.follow.tensorboard import board
    from repghost.training.result import open_tested
    from repghost.training.train import class_names, train

    _refuse_unused(recipe, given, ranks)
    class_map = given.get("class_map")
    dataset = open_dataset(data, given["train_split"], class_map)
    dataset = match_classes(dataset, len(dataset.classes), None, given.get("class_order", CHARACTERS))
    recipe = _suited(recipe, len(dataset), given, ranks)
    names = class_names(dataset, given.get("num_classes"))
    options = _options(recipe, names, given, ranks)
    options = replace(options, loss=_taught_loss(recipe, names, given.get("teacher_weights"), ranks))
    validation = None
    if not recipe.held_out:
        validation = open_validation(data, given.get("val_data"), given.get("val_split", "val"), dataset, class_map)
    tested = open_tested(data, names, validation, class_map)
    if ranks.first:
        tell_notes(dataset, validation, tested[0])
        say_notes(options.weights.notes if options.weights else ())
        _say_rate(recipe, ranks)
    events_wanted = given.get("tensorboard") if ranks.first else False
    with follow(recipe, quiet=not ranks.first) as shown, board(folder, events_wanted) as events:
        hooks = joined(shown, events, plotting(folder)) if ranks.first else shown
        result = train(recipe, dataset, folder, hooks, validation, options)
    return _Finished(recipe, result, dataset, *tested)


def _refuse_unused(recipe: Recipe, given: dict[str, Any], ranks: Ranks) -> None:
    """Refuse options that this recipe or this device has no use for."""
    if recipe.augmentation is None:
        for name in sorted(given.keys() & _LOADING):
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect on recipe {recipe.name!r}, which keeps its pictures in "
                "memory and holds some out to judge; leave it out."
            )
    for name in sorted(given.keys() & {"pin_mem", "log_interval"} if ranks.device.type == "cpu" else ()):
        raise UsageError(f"--{name.replace('_', '-')} has no effect without a GPU; leave it out.")


def _options(recipe: Recipe, classes: tuple[str, ...], given: dict[str, Any], ranks: Ranks) -> Options:
    """Return what does not decide the result, and the weights that training begins with."""
    import os

    from repghost.training.options import Loading, Options
    from repghost.training.transfer import read_start

    weights = read_start(given["pretrained"], recipe.width) if "pretrained" in given else None
    if weights is not None and ranks.first and weights.ordered(classes).classes != len(classes):
        say(f"note: the classifier begins fresh, {weights.source} is for other classes", err=True)
    return Options(
        resume=given.get("resume", "new"),
        ranks=ranks,
        loading=Loading(
            workers=given.get("workers", min(4, os.cpu_count() or 1)),
            pin_memory=given.get("pin_mem", False),
            broken_limit=given.get("broken_limit", 50),
            validation_batch=recipe.batch * given.get("validation_batch_size_multiplier", 1),
        ),
        state_interval=given["recovery_interval"],
        log_interval=given.get("log_interval", 50),
        num_classes=given.get("num_classes"),
        weights=weights,
    )


def _taught_loss(recipe: Recipe, classes: tuple[str, ...], weights: str | None, ranks: Ranks) -> Loss | None:
    """Return the loss with the recipe's teacher; None where the recipe's own is all.

    Args:
        recipe: names the teacher.
        classes: of the network.
        weights: of a teacher that is named; None takes the published ones.
        ranks: says on which device.

    Raises:
        UsageError: when the teacher cannot be read or tells other classes apart.
    """
    from repghost.api.training.teachers import open_teacher
    from repghost.training.losses import as_teacher, distilled, recipe_loss

    teaching = recipe.teaching
    if not teaching.teacher:
        if weights is not None:
            raise UsageError("--teacher-weights has no effect without --teacher; give that too, or leave it out.")
        return None
    teacher, _ = open_teacher(teaching.teacher, recipe.preprocess, len(classes), classes, weights)
    if teacher is None:
        raise UsageError(
            f"--teacher {teaching.teacher} is for training under quantization; here give timm:NAME, a checkpoint or an "
            "ONNX file."
        )
    how = teaching.distillation, teaching.temperature, teaching.distillation_kind
    return distilled(recipe_loss(recipe), as_teacher(teacher, ranks.device), *how)


def _suited(recipe: Recipe, images: int, given: dict[str, Any], ranks: Ranks) -> Recipe:
    """Return the recipe as it suits the device and the number of images, and say what was changed."""
    from repghost.training.suit import suit_device, suit_images

    recipe, device_note = suit_device(recipe, ranks.device)
    trained = images - (recipe.held_out if recipe.augmentation is None else 0)
    recipe, images_note = suit_images(recipe, trained, ranks.count, given)
    if ranks.first:
        say_notes((device_note, images_note))
    return recipe


def _say_rate(recipe: Recipe, ranks: Ranks) -> None:
    """Print the linear rule: the learning rate grows with the images per step."""
    reference = recipe.optimization.reference_batch
    total = recipe.batch * ranks.count * recipe.execution.accumulate
    if reference is not None:
        from repghost.training.recipe import get_recipe

        usual = get_recipe(recipe.name).learning_rate
        say(
            f"{total} pictures per step; the recipe's rate {usual:g} is for {reference}, the linear rule gives "
            f"{usual * total / reference:.4g}, this run uses {recipe.learning_rate:g} (--lr)",
            err=True,
        )


def _report(run: _Finished, data: Path, folder: Path, num_classes: int | None) -> None:
    """Evaluate the network on the test split, write it, and say what comes next."""
    from repghost.training.result import evaluate, write_trained
    from repghost.training.train import class_names

    recipe, result = run.recipe, run.result
    for message in result.broken:
        say(f"broken picture, left out: {message}", err=True)
    found = None if run.test is None else evaluate(result.model.cpu(), recipe, run.test)
    path = folder / "model.safetensors"
    write_trained(path, recipe, result, class_names(run.dataset, num_classes), found)
    if found is not None:
        say(f"test top-1: {found.top1:.2%} of {found.pictures} (95 %: {found.low:.2%} to {found.high:.2%})")
    else:
        say(f"test top-1: not measured, {run.untested}")
    kept = result.kept
    say(
        f"kept: epoch {kept.epoch}, {kept.weights} weights, held-out top-1 {kept.held_out_top1:.2%} of "
        f"{kept.held_out_pictures}"
    )
    say(f"written: {path}")
    say("next:")
    say("  " + shell_command("repghost", "validate", path, "--data", data))
    say("  " + shell_command("repghost", "fuse", path, folder / "fused.safetensors"))
