"""`repghost train`: train a network by a named recipe and write its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.args_file import args_file_option, from_file
from repghost.commands.options.data_options import (
    class_map_option,
    class_order_option,
    compile_command,
    dataset_option,
    options_of_set,
    refuse_two_sets,
    val_share_option,
)
from repghost.commands.options.earlier import Renamed
from repghost.commands.options.number_lists import WithNumberLists
from repghost.commands.options.process_options import processes_option, quiet_but_first, start_processes
from repghost.commands.options.train_flags import recipe_options
from repghost.commands.progress.notes import say_notes
from repghost.commands.progress.qat import following, tell_trained
from repghost.commands.progress.train import TrainProgress
from repghost.errors import UsageError
from repghost.terminal import say_broken, say_next, say_summary, shell_command

if TYPE_CHECKING:
    from repghost.api.training.trained import Trained


@click.command("train", cls=WithNumberLists, short_help="Train a network by a named recipe.")
@click.option("--data", "data", cls=Renamed, earlier=("--data_dir", "--data-dir"), required=True,
              type=click.Path(path_type=Path), help="A set of pictures (see docs/pictures.md).")  # fmt: skip
@click.option("--recipe", help="imagenet, imagenet-wide, finetune, demo, cifar or cifar-short.  [default: by the set]")
@click.option("--output", "-o", default="runs/train", show_default=True, type=click.Path(path_type=Path),
              help="Folder of the weights, the state, the log and the plot.")  # fmt: skip
@click.option("--experiment", help="A folder of this name in --output.")
@click.option("--resume", is_flag=False, flag_value="continue", default="new",
              help="Continue the run in --output or a given folder; 'auto' starts one if there is none.")  # fmt: skip
@click.option("--train-split", default="train", show_default=True, help="Which part of the set is trained on.")
@click.option("--val-split", help="Which part to evaluate on, where nothing is held out.  [default: val]")
@click.option("--val-data", type=click.Path(path_type=Path),
              help="A set of its own to evaluate each epoch on; WebDataset shards of --data need one.")  # fmt: skip
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
@click.option("--wandb", is_flag=True, default=None, help="Log each epoch to Weights & Biases.")
@processes_option
@click.option("--device", help="cpu or cuda; a GPU by default where there is one.")
@click.option("--dist-timeout", type=click.FloatRange(1), help="Seconds to wait for other processes.  [default: 600]")
@click.option("--qat", metavar="MODE",
              help="Go on under quantization: fused, or reparam; writes OUTPUT/model.qdq.onnx.")  # fmt: skip
@click.option("--qat-epochs", type=click.IntRange(1), help="Passes under quantization.  [default: 4]")
@click.option("--qat-images", type=click.IntRange(1), help="Pictures of such a pass.  [default: 12500]")
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice by default.")
@class_order_option
@class_map_option
@val_share_option
@recipe_options
@dataset_option
@args_file_option()
def command(
    data: Path, output: Path, experiment: str | None, mixed: bool, threads: int | None, count: int | None, **given: Any
) -> None:
    """Train a RepGhostNet and write OUTPUT/model.safetensors.

    Each epoch is evaluated on training pictures that are held out (demo, cifar) or on --val-split. The set's test
    split, if there is one, is used once, after the last epoch, for the figure that is written into the checkpoint.

    Several processes: --processes N on this machine, or torchrun --nproc-per-node=N -m repghost train ...
    """
    refuse_two_sets()
    start_processes(count)
    import torch

    from repghost.api.training.float_training import train

    if threads is not None:
        torch.set_num_threads(threads)
    given = _of_the_recipe(given, mixed, from_file(click.get_current_context()))
    folder = output / experiment if experiment else output
    with quiet_but_first(), closing(TrainProgress()) as shown, following() as quantized:
        found = train(
            data, output=folder, on_begin=shown.begin, on_step=shown.step, on_epoch=shown.epoch,
            on_trained=lambda trained: _report(trained, data, given), on_qat_step=quantized.step,
            on_candidate=quantized.candidate, on_refused=quantized.refused, say=lambda note: say_notes([note]),
            progress=shown.prepare, **given,
        )  # fmt: skip
        if found.quantized is not None:
            quantized_file = found.path.with_name("model.qdq.onnx")
            tell_trained(quantized_file, found.quantized)
            say_next(compile_command(quantized_file, data, given))


def _of_the_recipe(given: dict[str, Any], mixed: bool, by_file: frozenset[str]) -> dict[str, Any]:
    """Return the arguments that were given, --amp in its long form, and of a file only what has an effect."""
    if mixed and not ("mixed" in by_file and given["amp_dtype"] is not None):
        if given["amp_dtype"] not in (None, "float16"):
            raise UsageError("--amp is --amp-dtype float16; leave one of them out.")
        given["amp_dtype"] = "float16"
    given = {name: value for name, value in given.items() if value is not None}
    if not by_file:
        return given
    from repghost.api.training.recipes import without_idle

    return without_idle(given["recipe"], given, by_file)


def _report(trained: Trained, data: Path, given: Mapping[str, Any]) -> None:
    """Say what came out, and what comes next, with the options by which the same set is read again."""
    say_broken(trained.broken, "left out")
    say_summary("trained", *trained.lines)
    evaluated_on = given.get("val_data", data)
    mistakes = "--mistakes", trained.path.with_name("mistakes")
    say_next(
        shell_command("repghost", "validate", trained.path, "--data", evaluated_on, *options_of_set(given), *mistakes),
        compile_command(trained.path, data, given),
    )
