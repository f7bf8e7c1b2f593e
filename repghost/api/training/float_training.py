"""`repghost.train`: a RepGhostNet from images, by a named recipe."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from calib.qat.candidates import Candidate
from calib.qat.loop import QatStep
from repghost.api.bundles import Say, as_path, silent
from repghost.api.dataset import SetLike, place_of
from repghost.api.shown.notes import Notes
from repghost.api.shown.progress import Progress
from repghost.api.training.quantized_too import QatFollowed, quantized_part, train_quantized_too
from repghost.api.training.recipes import RecipeValues, recipe_with
from repghost.api.training.run import Followed, TrainArguments, run
from repghost.api.training.trained import Trained
from repghost.distributed.ranks import TIMEOUT, join
from repghost.errors import UsageError, option
from repghost.training.follow.hooks import StepRecord
from repghost.training.options import Resume
from repghost.training.recipe import Recipe
from repghost.training.state.state import EpochRecord
from repghost.training.train import STATE_FILE

OUTPUT = "runs/train"


def train(
    data: SetLike,
    recipe: str | Recipe | None = None,
    *,
    output: str | os.PathLike[str] = OUTPUT,
    resume: str | os.PathLike[str] = "new",
    train_split: str = "train",
    val_split: str | None = None,
    val_data: str | os.PathLike[str] | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    teacher_weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    workers: int | None = None,
    pin_mem: bool | None = None,
    validation_batch_size_multiplier: int | None = None,
    broken_limit: int | None = None,
    recovery_interval: int = 0,
    log_interval: int | None = None,
    tensorboard: bool | None = None,
    wandb: bool | None = None,
    device: str | None = None,
    dist_timeout: float | None = None,
    qat: str | None = None,
    qat_epochs: int | None = None,
    qat_images: int | None = None,
    class_order: str | None = None,
    class_map: str | os.PathLike[str] | None = None,
    val_share: float | None = None,
    on_begin: Callable[[int, int], None] | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_trained: Callable[[Trained], None] | None = None,
    on_qat_step: Callable[[QatStep], None] | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    say: Say | None = None,
    progress: Progress = None,
    **values: Unpack[RecipeValues],
) -> Trained:
    """Train a RepGhostNet by a recipe, write its checkpoint into a folder, and return it.

    Each epoch is evaluated on training images that are held out (the recipes "demo", "cifar" and "cifar-short") or by
    `val_split`; the test split, where there is one, is used once, after the last epoch. A run that was stopped or
    killed and is continued ends with the same weights. Ctrl-C ends it after the step it is in, with a state to go on
    from. Where torchrun started several processes, each takes its share of every step, and all return the network.

    Args:
        data: a set of images: what `repghost.open_dataset` returned, or its path.
        recipe: "imagenet", "imagenet-wide", "finetune", "demo", "cifar" or "cifar-short"; None: by the images and what
            else is given: small ones are kept in memory, large ones trained on as the authors did, or as "finetune"
            where the network is pretrained.
        output: the folder of weights, state, log and plot.
        resume: "new" refuses a folder with a state, "continue" needs one, "auto" goes on where there is one; or the
            folder of the run to go on with.
        train_split: which part of the set is trained on.
        val_split: which part each epoch is evaluated on, where nothing is held out; None: val.
        val_data: a set of its own that each epoch is evaluated on; WebDataset shards need one.
        pretrained: begin with the weights of a checkpoint, or of "timm".
        teacher_weights: of a teacher's name: a weight file; None takes the published ones.
        num_classes: of the network; None: as many as the images have.
        workers: processes that decode; None: 4, or one per core. They change no result.
        pin_mem: lock pages for faster copies to a GPU.
        validation_batch_size_multiplier: batch of evaluation / batch.
        broken_limit: images that may be broken; None: 50.
        recovery_interval: batches between states in an epoch; 0: after each epoch only.
        log_interval: batches between looks at a GPU's loss; None: 50.
        tensorboard: write events for TensorBoard; None: where it is installed.
        wandb: log each epoch to Weights & Biases, which sends it to their server unless WANDB_MODE=offline.
        device: "cpu" or "cuda"; None: a GPU where there is one for each process.
        dist_timeout: seconds to wait for other processes; None: 600.
        qat: go on under quantization: "fused", or "reparam"; writes model.qdq.onnx beside the checkpoint, by
            `repghost.quantize` and `repghost.train_quantized`, and goes on there too.
        qat_epochs: passes under quantization; None: 4.
        qat_images: images of such a pass; None: 12500.
        class_order: of the network's classes: "natural", "characters" (None), or a file of names.
        class_map: a file with the class of each picture, for a split without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.
        on_begin: called with the number of epochs and the images of one.
        on_step: called with each step.
        on_epoch: called with each epoch, once its state is written.
        on_trained: called with the network once its checkpoint is written, before training under quantization.
        on_qat_step: called with each step under quantization; it and what follows as of `repghost.train_quantized`.
        on_candidate: called with the score of each network that could be chosen.
        on_refused: called with the name of a candidate that integers could not hold, and why.
        say: called with notes on images, weights and settings before the first step; None: they are warnings.
        progress: see `repghost.evaluate`.
        values: of the recipe, by name: `epochs`, `batch`, `learning_rate`, ...; `repghost.RecipeValues` lists them.

    Raises:
        UsageError: for values out of range or without effect, images that do not fit, or the state of another run.
        RepGhostError: when the loss is no longer finite, too many images are broken, or another process is gone.
        KeyboardInterrupt: after Ctrl-C.
    """
    place, how = _place(Path(output), resume)
    named = None if recipe is None else recipe_with(recipe, values)
    opened = place_of(data, class_map, val_share)
    wanted = TrainArguments(
        data=opened.path,
        folder=place,
        resume=how,
        train_split=train_split,
        val_split=val_split,
        val_data=as_path(val_data),
        pretrained=_text(pretrained),
        teacher_weights=_text(teacher_weights),
        num_classes=num_classes,
        workers=workers,
        pin_mem=pin_mem,
        validation_batch_size_multiplier=validation_batch_size_multiplier,
        broken_limit=broken_limit,
        recovery_interval=recovery_interval,
        log_interval=log_interval,
        tensorboard=tensorboard,
        wandb=wandb,
        class_order=class_order,
        class_map=opened.class_map,
        val_share=opened.val_share,
        chosen=frozenset(values),
    )
    part = quantized_part(qat, qat_epochs, qat_images, values.get("seed") or 0, place, how)
    with join(device, TIMEOUT if dist_timeout is None else dist_timeout) as ranks:
        if dist_timeout is not None and ranks.count == 1:
            raise UsageError(
                f"{option('dist_timeout')} has no effect with one process; leave it out or start with torchrun."
            )
        tell, shown = Notes(say if ranks.first else silent), progress if ranks.first else False
        found = run(named, values, wanted, ranks, tell, Followed(on_begin, on_step, on_epoch, shown))
        if on_trained is not None:
            on_trained(found)
        if part is None:
            return found
        split = opened.open(train_split)
        followed = QatFollowed(on_qat_step, on_candidate, on_refused, tell, shown)
        part = replace(part, settings=replace(part.settings, seed=found.recipe.seed))
        return replace(found, quantized=train_quantized_too(part, found, split, ranks, followed))


def _place(output: Path, resume: str | os.PathLike[str]) -> tuple[Path, Resume]:
    """Return the folder of the run, which `resume` may name, and how it begins."""
    known: dict[object, Resume] = {"new": "new", "continue": "continue", "auto": "auto"}
    if resume in known:
        return output, known[resume]
    path = Path(resume)
    folder = path.parent if path.name == STATE_FILE else path
    if path.is_file() and folder == path:
        raise UsageError(
            f"{option('resume', str(resume))} is a file of weights, which lacks what a run goes on with. Give "
            f"{option('pretrained', str(resume))} to begin a new run with them, or {option('resume', 'FOLDER')} of a "
            "run of this program."
        )
    if not (folder / STATE_FILE).is_file():
        raise UsageError(
            f"{option('resume', str(resume))}: there is no {STATE_FILE}; give {option('resume', 'continue')}, "
            f"{option('resume', 'auto')}, or the folder of a run."
        )
    return folder, "continue"


def _text(value: str | os.PathLike[str] | None) -> str | None:
    return None if value is None else str(value)
