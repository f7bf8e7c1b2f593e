"""`repghost.train_quantized`: training under quantization, done here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from calib.qat.candidates import Candidate
from calib.qat.data import TrainingFeed, split_images, split_places
from calib.qat.epochs import Execution, Hooks, check_state
from calib.qat.loop import QatStep
from calib.qat.qat_images import Images, QatImages
from calib.qat.settings import EPOCH_IMAGES, EPOCHS, FLOAT, QatSettings, Schedule
from calib.qat.train_aware import QatPlan, train_aware
from repghost.api.accepted.images import ImagesLike
from repghost.api.accepted.sources import SetSource, open_source
from repghost.api.bundles import Say, silent
from repghost.api.dataset import Split, open_dataset
from repghost.api.quantized import QuantizedNetwork
from repghost.api.shown.notes import Notes, warn_of
from repghost.api.shown.progress import Progress, follow
from repghost.api.training.interrupts import interruptible
from repghost.api.training.module import check_trainable, source_of
from repghost.api.training.teachers import TeacherLike, open_teacher
from repghost.data import ImageSet, prepare
from repghost.detection.boxes import BoxRule
from repghost.distributed.ranks import TIMEOUT, Ranks, join
from repghost.errors import UsageError, option
from repghost.evaluation.classes import match_classes
from repghost.training.follow.hooks import TrainingStoppedError
from repghost.training.options import Loading, Resume
from repghost.training.recipe_parts import ALPHA, SOFT, TEMPERATURE
from repghost.training.suit import few_steps

TRAIN = "train"  # the split
# What belongs to networks that tell classes apart, with its defaults.
OF_CLASSES = {
    "mode": "fused", "teacher": FLOAT, "teacher_weights": None, "distill_alpha": ALPHA, "distill_kind": SOFT,
    "distill_temperature": TEMPERATURE, "crop_padding": 0, "flip": False, "statistics_momentum": 0.0,
    "class_order": None,
}  # fmt: skip


def train_quantized(
    q: QuantizedNetwork,
    data: ImagesLike,
    *,
    epochs: int = EPOCHS,
    images: int | None = EPOCH_IMAGES,
    batch: int = 64,
    mode: str = "fused",
    learning_rate: float = 1e-3,
    scale_learning_rate: float = 1e-3,
    teacher: TeacherLike = FLOAT,
    teacher_weights: str | os.PathLike[str] | None = None,
    distill_alpha: float = ALPHA,
    distill_kind: str = SOFT,
    distill_temperature: float = TEMPERATURE,
    held_out: int = 2000,
    seed: int = 0,
    crop_padding: int = 0,
    flip: bool = False,
    statistics_momentum: float = 0.0,
    schedule: Schedule | None = None,
    amp_dtype: str = "off",
    device: str | torch.device | None = None,
    workers: int = 0,
    state: str | os.PathLike[str] | None = None,
    resume: Resume = "new",
    recovery_interval: int = 0,
    dist_timeout: float = TIMEOUT,
    class_order: str | None = None,
    split: str = TRAIN,
    on_step: Callable[[QatStep], None] | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    say: Say | None = None,
    progress: Progress = None,
) -> QuantizedNetwork:
    """Return a quantized network trained under quantization, or `q` again where training is not surely better.

    Images that are held out choose, in the integers of the compiled program, between `q` and the network after each
    epoch. Where torchrun started several processes, each takes its share of every step, and all get the result. A run
    that was stopped or killed and is continued gives the same bytes on a CPU; on a GPU as far as its kernels repeat
    their sums. Ctrl-C ends a run that has a `state` after the step it is in, with a state to go on from.

    Args:
        q: from `repghost.quantize`; what training begins with.
        data: labelled images with names of classes, as a split of `repghost.open_dataset`, a set's path (its split
            train), or a dataset of torchvision; never those that accuracy is measured on.
        epochs: passes over `images` training images each.
        images: of an epoch, drawn anew for each, at most all; None takes all.
        batch: images per step and process.
        mode: "fused" trains the fused network, "reparam" the branches of a RepGhostNet.
        learning_rate: Adam's peak for weights and biases, in units of each tensor's mean magnitude.
        scale_learning_rate: Adam's peak for the logarithms of the scales.
        teacher: whose predictions are learned from: "float", the float network itself; a module; "timm:NAME"; the path
            of a checkpoint or ONNX file. It sees the same crops.
        teacher_weights: of a teacher's name: a weight file; None takes the published ones.
        distill_alpha: share of the loss that compares with the teacher; the rest compares with labels.
        distill_kind: "soft" compares probabilities, "hard" with the class the teacher gives (arXiv 2012.12877).
        distill_temperature: of the soft comparison.
        held_out: images never trained on, which choose.
        seed: of the held-out images, the order and the augmentation.
        crop_padding: pixels of reflection on each side before a random crop; 0 turns it off.
        flip: whether half of the images are mirrored.
        statistics_momentum: share of a batch in the running batch-norm statistics ("reparam"); 0 keeps them.
        schedule: when scales and statistics become final.
        amp_dtype: "bfloat16" or "float16" runs the network under autocast; quantizers stay in float32.
        device: "cpu" or "cuda"; None: a GPU where there is one for each process.
        workers: processes that decode; they change no result.
        state: the file of the run's state; None: the run cannot be continued.
        resume: "new" refuses a state that is there, "continue" needs one, "auto" goes on where there is one.
        recovery_interval: steps between two states; 0: after each epoch only.
        dist_timeout: seconds to wait for other processes.
        class_order: of a network that does not name its classes.
        split: of a detector's images, a folder in COCO's format.
        on_step: called with each step.
        on_candidate: called with the score of each network that could be chosen.
        on_refused: called with the name of a candidate that integers could not hold, and why.
        say: called with notes on the run before its first step; None: it is a warning.
        progress: see `repghost.evaluate`.

    Raises:
        UsageError: for settings or images that do not fit the network, or a state of another run.
        RepGhostError: when training diverges, or another process is gone.
        KeyboardInterrupt: after Ctrl-C.
    """
    check_trainable(q, mode)
    if q.network.detection is not None:
        _refuse_of_classes(locals())
        distill_alpha, module, name, dataset = 0.0, None, FLOAT, None
    else:
        if split != TRAIN:
            raise UsageError(f"{option('split')} is of a detector's images; give one of repghost.open_dataset here.")
        dataset = _labelled(data, q, class_order)
        module, name = open_teacher(teacher, q.preprocess, q.network.classes, q.network.labels, teacher_weights)
    settings = QatSettings(
        mode=mode,
        epochs=epochs,
        images=images,
        batch=batch,
        learning_rate=learning_rate,
        scale_learning_rate=scale_learning_rate,
        distillation=distill_alpha,
        temperature=distill_temperature,
        held_out=held_out,
        seed=seed,
        crop_padding=crop_padding,
        flip=flip,
        statistics_momentum=statistics_momentum,
        schedule=schedule or Schedule(),
        distillation_kind=distill_kind,
        teacher=name,
        amp=amp_dtype,
    )
    place = None if state is None else Path(state)
    with (
        interruptible(TrainingStoppedError, place) as should_stop,
        join(_device(device), dist_timeout) as ranks,
        ExitStack() as stack,
    ):
        qat_images: QatImages
        if dataset is None:
            qat_images = _boxes(q, data, split, settings, Loading(workers), ranks)
        else:
            qat_images = _classes(q, dataset, settings, Loading(workers), ranks)
        followed = follow(progress if ranks.first else False, "train", epochs * qat_images.images_per_epoch)
        hooks = _hooks(stack.enter_context(followed), batch * ranks.count, on_step, on_candidate, on_refused)
        steps = epochs * qat_images.steps_per_epoch
        Notes(say if ranks.first else silent)(few_steps(steps) if steps else "")
        result = train_aware(
            q.network.graph if q.network.model is None else q.network.model,
            qat_images,
            QatPlan(q.config, settings),
            source_of(q),
            replace(hooks, should_stop=should_stop),
            q.name,
            Execution(ranks, place, resume, recovery_interval, teacher=module),
            (q.quantized.graph, q.quantized.spec),
        )
    return replace(q, quantized=result.quantized, trained=True, search=None)


def _refuse_of_classes(given: Mapping[str, Any]) -> None:
    """Refuse arguments that are of networks with classes, where a detector is trained.

    Raises:
        UsageError: naming the first of them.
    """
    for name, usual in OF_CLASSES.items():
        if given[name] != usual:
            raise UsageError(
                f"{option(name)} has no effect on a detector, which learns by its own loss of boxes, fused, on "
                "pictures changed as in its training; leave it out."
            )


def _labelled(data: ImagesLike, q: QuantizedNetwork, class_order: str | None) -> ImageSet:
    """Return labelled images with the classes of a network."""
    source = open_source(data if not isinstance(data, str | os.PathLike) else _train_of(data), calibrates=True)
    if not isinstance(source, SetSource):
        raise UsageError(
            "training needs labelled pictures with names of classes: a split of repghost.open_dataset, or a dataset of "
            "torchvision. With any other loader, train in a loop of your own: repghost.prepare_qat(q)."
        )
    return match_classes(source.dataset, q.network.classes, q.network.labels, class_order)


def _classes(q: QuantizedNetwork, dataset: ImageSet, settings: QatSettings, loading: Loading, ranks: Ranks) -> Images:
    """Return labelled images in their parts."""
    parts = split_images(dataset.labels, settings)
    held = prepare(dataset, q.preprocess, parts.held_out)
    feed = TrainingFeed(dataset, parts.training, q.preprocess, settings, loading, ranks)
    return Images(q.calibration.images, held, feed)


def _boxes(
    q: QuantizedNetwork, data: ImagesLike, split: str, settings: QatSettings, loading: Loading, ranks: Ranks
) -> QatImages:
    """Return images with boxes in their parts."""
    # With torchvision, which other networks need not load.
    from calib.qat.detect.pictures import box_images
    from repghost.detection.checkpoint import Category
    from repghost.detection.data.coco import open_coco

    if not isinstance(data, str | os.PathLike):
        raise UsageError(f"a detector is trained on a folder in COCO's format, not on {type(data).__name__}.")
    assert q.network.detection is not None
    dataset = open_coco(Path(data), split, masks=False)
    dataset = dataset.matched(tuple(Category(number, name) for number, name in enumerate(q.labels, 1)))
    rule = BoxRule.from_dict(q.network.detection)
    found = box_images(dataset, q.calibration.images, rule, q.preprocess, settings, loading, ranks)
    warn_of((), found.broken)
    return found


def calibration_count(data: Split | Sequence[Path], held_out: int = 2000, seed: int = 0) -> int:
    """Return how many images of a split calibrate where the same split also trains and chooses: 512, or what is left.

    Args:
        data: the split; of a detector, its images with objects.
        held_out: images that choose, as `train_quantized` takes them.
        seed: of both.

    Raises:
        UsageError: when there are too few images.
    """
    settings = QatSettings(held_out=held_out, seed=seed)
    if isinstance(data, Split):
        return len(split_images(data.labels, settings).calibration)
    return len(split_places(len(data), settings).calibration)


def check_resume(state: Path, resume: Resume) -> None:
    """Refuse a state that is missing or should not be there, as `train_quantized` does.

    Raises:
        UsageError: saying which, and what to give.
    """
    check_state(Execution(state=state, resume=resume))


def _train_of(path: str | os.PathLike[str]) -> Split:
    """Return the images of a set to train on."""
    return open_dataset(path).train


def _device(device: str | torch.device | None) -> str | None:
    """Return the kind of a device; which GPU it is follows from the process."""
    if device is not None and torch.device(device).index:
        raise UsageError(f"device {str(device)!r}: say which GPU by CUDA_VISIBLE_DEVICES, and give 'cuda' here.")
    return None if device is None else torch.device(device).type


def _hooks(
    done: Callable[[int], None],
    images: int,
    on_step: Callable[[QatStep], None] | None,
    on_candidate: Callable[[Candidate], None] | None,
    on_refused: Callable[[str, str], None] | None,
) -> Hooks:
    """Return the hooks of a run.

    Args:
        done: called with the number of images that were trained on.
        images: of a whole step, all processes together.
        on_step: see `train_quantized`, as the others.
        on_candidate: of the caller.
        on_refused: of the caller.
    """

    def step(record: QatStep) -> None:
        done(record.images)
        if on_step is not None:
            on_step(record)

    return Hooks(
        begin=lambda steps, before: done(before * images),
        step=step,
        candidate=on_candidate or Hooks.candidate,
        refused=on_refused or Hooks.refused,
    )
