"""Detectors with a RepGhostNet backbone: `repghost.train_detector`, `evaluate_detector` and `export_detector`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from repghost.api.bundles import Say, silent
from repghost.api.shown.notes import Notes, warn_of
from repghost.api.shown.progress import Progress, follow
from repghost.api.training.built_detectors import keep_precision, open_built
from repghost.api.training.detectors import DetectorEvaluation, ExportedDetector, TrainedDetector
from repghost.api.training.interrupts import interruptible
from repghost.detection import export as exporters
from repghost.detection.checkpoint import Category, read_detector
from repghost.detection.data.coco import CocoImages, open_coco
from repghost.detection.detector import fuse_detector
from repghost.detection.evaluate import evaluate
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.state import DetectionEpoch
from repghost.detection.train import MODEL_FILE, DetectionHooks, train
from repghost.distributed.ranks import TIMEOUT, Ranks, join
from repghost.errors import UsageError, option, unknown_value
from repghost.files import write_bytes_atomically
from repghost.network.spec import parse_width
from repghost.training.core.epochs import RESUMES
from repghost.training.core.hooks import StepRecord, TrainingStoppedError
from repghost.training.options import Loading, Options, Resume
from repghost.training.suit import few_steps, suit_amp
from repghost.training.transfer import Start, read_start

OUTPUT, WORKERS, BROKEN_LIMIT = "runs/detect", 4, 50
EXPORTERS = {"pyramid": exporters.export_pyramid, "detector": exporters.export_detector}
HEADS = "heads"  # the part of ssdlite that is written
MOST_RESAMPLES = 100_000


def train_detector(
    data: str | os.PathLike[str],
    *,
    detector: str = "retinanet",
    width: str | float = "1.0",
    pretrained: str | os.PathLike[str] | None = None,
    train_split: str = "train2017",
    val_split: str = "val2017",
    output: str | os.PathLike[str] = OUTPUT,
    resume: Resume = "new",
    workers: int = WORKERS,
    broken_limit: int = BROKEN_LIMIT,
    recovery_interval: int = 0,
    device: str | None = None,
    dist_timeout: float = TIMEOUT,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    sched: str | None = None,
    milestones: Sequence[int] | None = None,
    warmup_steps: int | None = None,
    clip_grad: float | None = None,
    accumulate: int | None = None,
    amp_dtype: str | None = None,
    ema: bool | None = None,
    ema_decay: float | None = None,
    ema_warmup: bool | None = None,
    flip: float | None = None,
    crop: float | None = None,
    colour: float | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    freeze: str | None = None,
    train_norm: bool | None = None,
    seed: int | None = None,
    on_begin: Callable[[int], None] | None = None,
    on_step: Callable[[int, int, int, float, float], None] | None = None,
    on_epoch: Callable[[DetectionEpoch], None] | None = None,
    say: Say | None = None,
) -> TrainedDetector:
    """Train SSDLite, RetinaNet or Mask R-CNN on images in COCO's format, and return the detector.

    Args:
        data: a folder with annotations/instances_SPLIT.json and the images in SPLIT/.
        detector: "ssdlite", which is quantized and compiled for boards, "retinanet" or "maskrcnn".
        width: of the backbone.
        pretrained: begin with the backbone of a checkpoint, or of "timm".
        train_split: what is trained on.
        val_split: what each epoch is evaluated on; "": no epoch is.
        output: the folder of detector.safetensors, state.pt and log.jsonl.
        resume: "new" refuses a folder with a state, "continue" needs one, "auto" goes on where there is one.
        workers: processes that decode.
        broken_limit: images that may be broken.
        recovery_interval: batches between two states; 0: after each epoch only.
        device: "cpu" or "cuda"; None: a GPU where there is one for each process.
        dist_timeout: seconds to wait for other processes.
        epochs: passes over the images; None: 12.
        batch: images per step and process; None: 2, or 16 of ssdlite.
        learning_rate: after the warm-up; None: 0.01 (RetinaNet) or 0.02 (Mask R-CNN, ssdlite) per 16 images.
        momentum: of SGD; None: 0.9.
        weight_decay: None: 1e-4.
        sched: "step" divides the rate by 10 at the milestones, "cosine" lets it fall to 0; None: "step".
        milestones: epochs after which the rate is divided by 10; None: 8 and 11.
        warmup_steps: None: 500.
        clip_grad: limit of the gradient's norm; None: 10.
        accumulate: batches per step; None: 1.
        amp_dtype: "float16", "bfloat16" or "off"; None: "off".
        ema: average the weights; the better ones of each epoch are kept; None: no.
        ema_decay: of the average; None: 0.998.
        ema_warmup: at first the average covers the latest steps only; None: yes.
        flip: probability of mirroring; None: 0.5.
        crop: of ssdlite: probability that an image is cut, or made smaller; None: 0.5.
        colour: of ssdlite: share by which brightness and contrast change; None: 0.3.
        min_size: short side of the images, pixels; None: 800. Both sides of ssdlite's, whose default is 320.
        max_size: limit of their long side, pixels; None: 1333; ssdlite has none.
        freeze: "none", "stem", "stride 4" to "stride 32"; None: the stem, or none without weights or with ssdlite.
        train_norm: batch norms follow the batches; None: where the backbone begins at random, and with ssdlite.
        seed: None: 0.
        on_begin: called with the number of epochs.
        on_step: called with epoch, step, steps of the epoch, loss and rate.
        on_epoch: called with each epoch, once its state is written.
        say: called with notes on images and settings before the first step; None: they are warnings.

    Raises:
        UsageError: for values out of range, images that do not fit, or the state of another run.
        RepGhostError: when the loss is no longer finite, too many images are broken, or another process is gone.
        KeyboardInterrupt: after Ctrl-C; the state is written.
    """
    if resume not in RESUMES:
        raise UsageError(
            f"{option('resume', str(resume))} is not understood; allowed: {option('resume', 'continue')} or "
            f"{option('resume', 'auto')}, with {option('output')}."
        )
    if val_split == train_split:
        raise UsageError(
            f"{option('val_split', val_split)} is trained on, and no picture may do both; give another one, or an "
            "empty one to evaluate no epoch."
        )
    values: dict[str, Any] = {
        "epochs": epochs, "batch": batch, "learning_rate": learning_rate, "momentum": momentum,
        "weight_decay": weight_decay, "sched": sched, "milestones": None if milestones is None else tuple(milestones),
        "warmup_steps": warmup_steps, "clip_grad": clip_grad, "accumulate": accumulate, "amp": amp_dtype, "ema": ema,
        "ema_decay": ema_decay, "ema_warmup": ema_warmup, "flip": flip, "crop": crop, "colour": colour,
        "min_size": min_size, "max_size": max_size, "freeze": freeze, "train_norm": train_norm, "seed": seed,
    }  # fmt: skip
    _refuse_without_effect(values)
    values = {name: value for name, value in values.items() if value is not None}
    values = {**DetectionRecipe.defaults(detector), **values}
    if detector == "ssdlite":
        if max_size is not None:
            raise UsageError(
                f"{option('max_size', str(max_size))} belongs to other detectors; ssdlite's pictures are square."
            )
        values["max_size"] = values["min_size"]
    if pretrained is None:  # random batch norms and stems have nothing worth keeping
        values = {"freeze": "none", "train_norm": True, **values}
    recipe = DetectionRecipe(kind=detector, width=parse_width(width, custom=True), **values)
    with join(device, dist_timeout) as ranks:
        amp, said = suit_amp(recipe.amp, ranks.device)
        recipe = replace(recipe, amp=amp)
        images, validation = _open_splits(Path(data), train_split, val_split, recipe)
        weights = None if pretrained is None else read_start(str(pretrained), recipe.width)
        tell = Notes(say if ranks.first else silent)
        tell(said, *_notes(recipe, images, validation, weights, ranks))
        loading = Loading(workers, broken_limit=broken_limit)
        beside = Options(loading, recovery_interval, weights=weights, resume=resume, ranks=ranks)
        if on_begin is not None:
            on_begin(recipe.epochs)
        with interruptible(TrainingStoppedError, output) as should_stop:
            hooks = _hooks(on_step, on_epoch, should_stop) if ranks.first else DetectionHooks(should_stop=should_stop)
            made, history = train(recipe, images, Path(output), hooks, validation, beside)
    return TrainedDetector(made, Path(output) / MODEL_FILE, history, tuple(tell.notes))


def evaluate_detector(
    detector: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: str = "val2017",
    fused: bool = False,
    resamples: int = 0,
    device: str | None = None,
    dist_timeout: float = TIMEOUT,
    progress: Progress = None,
) -> DetectorEvaluation:
    """Return the average precision of a detector on a split in COCO's format; of a bundle its run's report keeps it.

    Args:
        detector: the file that `repghost.train_detector` wrote; of ssdlite also its QDQ file, or a bundle for this
            machine or for Jetson.
        data: a folder with annotations/instances_SPLIT.json and the images in SPLIT/.
        split: of it.
        fused: fold branches and batch norms of the backbone first.
        resamples: how often images are drawn with replacement, for intervals of AP; 0: never.
        device: "cpu" or "cuda"; None: a GPU where there is one for each process.
        dist_timeout: seconds to wait for other processes.
        progress: see `repghost.evaluate`.

    Raises:
        UsageError: when the file is no detector, or the set does not fit it.
    """
    if not 0 <= resamples <= MOST_RESAMPLES:
        raise UsageError(f"{option('resamples', str(resamples))} must be 0 to {MOST_RESAMPLES}.")
    model, categories, masks = _opened(Path(detector), fused)
    dataset = open_coco(Path(data), split, masks).matched(categories)
    with join(device, dist_timeout) as ranks:
        share = len(range(ranks.rank, len(dataset), ranks.count))
        if isinstance(model, nn.Module):
            model.to(ranks.device)
        with _counted(progress if ranks.first else False, share) as wrapped:
            scores = evaluate(model, dataset, ranks, wrapped, resamples)
    warn_of((), scores.broken)
    found = DetectorEvaluation(scores, dataset.notes)
    if ranks.first and Path(detector).is_dir():
        keep_precision(Path(detector), found, Path(data), split)
    return found


def _opened(path: Path, fused: bool) -> tuple[Any, tuple[Category, ...], bool]:
    """Return what gives boxes, the classes it knows, and whether it gives masks.

    Raises:
        UsageError: when the path holds no detector.
    """
    if not (path.is_dir() or path.name.endswith(".onnx")):
        loaded = read_detector(path)
        model = fuse_detector(loaded.model) if fused and loaded.form == "train" else loaded.model
        return model, loaded.categories, loaded.recipe.kind == "maskrcnn"
    if fused:
        raise UsageError(f"{option('fused')} has no effect on {path}, which has neither branches nor batch norms.")
    found, labels = open_built(path)
    return found, tuple(Category(number, name) for number, name in enumerate(labels, 1)), False


def export_detector(
    detector: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    part: str | None = None,
    height: int | None = None,
    width: int | None = None,
) -> ExportedDetector:
    """Write a detector, its heads, or its backbone with the pyramid, as ONNX of fixed sizes.

    The pyramid and the heads take normalized images [1, 3, height, width] and are compared with the network before they
    are written. The detector takes one image [3, height, width] in [0, 1] and gives boxes, labels, scores and masks.

    Args:
        detector: the file that `repghost.train_detector` wrote.
        output: the file to write.
        part: "pyramid": fused backbone and pyramid; "detector": everything, for runtimes with NMS; "heads": a fused
            ssdlite up to its maps of scores and boxes; None: the heads of ssdlite, of others the pyramid.
        height: of the input, pixels; None: the short side it was trained with. ssdlite has the one it was trained for.
        width: of the input, pixels; None: the height.

    Raises:
        UsageError: when the file is no detector, or a side is no multiple of 32.
        IntegrityError: when the pyramid does not compute what the network does.
    """
    if part not in (None, HEADS, *EXPORTERS):
        raise unknown_value("part", part, (HEADS, *EXPORTERS))
    loaded = read_detector(Path(detector))
    if part == HEADS or loaded.recipe.kind == "ssdlite":
        if part not in (None, HEADS) or height or width:
            wrong = ", ".join(option(name) for name in ("part", "height", "width"))
            raise UsageError(f"ssdlite is written up to its heads, for the size it was trained for; leave {wrong} out.")
        proto = exporters.export_heads(loaded)
    else:
        height = height or -(-loaded.recipe.min_size // exporters.MULTIPLE) * exporters.MULTIPLE
        proto = EXPORTERS[part or "pyramid"](loaded, height, width or height)
    content = proto.SerializeToString(deterministic=True)
    write_bytes_atomically(Path(output), content)
    return ExportedDetector(Path(output), len(content), tuple(value.name for value in proto.graph.output))


def _open_splits(
    data: Path, train_split: str, val_split: str, recipe: DetectionRecipe
) -> tuple[CocoImages, CocoImages | None]:
    """Return the images to train on, and those to evaluate on."""
    masks = recipe.kind == "maskrcnn"
    images = open_coco(data, train_split, masks)
    return images, open_coco(data, val_split, masks).matched(images.categories) if val_split else None


def _notes(
    recipe: DetectionRecipe, images: CocoImages, validation: CocoImages | None, weights: Start | None, ranks: Ranks
) -> tuple[str, ...]:
    """Return what to know before the first step."""
    steps = recipe.epochs * (len(images.trainable()) // (recipe.batch * ranks.count * recipe.accumulate))
    said = (*(weights.notes if weights else ()), *(validation.notes if validation else ()))
    return (few_steps(steps, recipe.warmup_steps), *said)


def _refuse_without_effect(values: Mapping[str, Any]) -> None:
    """Refuse a value that would change nothing in this run.

    Raises:
        UsageError: naming it and what it needs.
    """
    if values["sched"] == "cosine" and values["milestones"] is not None:
        raise UsageError(
            f"{option('milestones')} has no effect with {option('sched', 'cosine')}; leave one of them out."
        )
    for name in ("ema_decay", "ema_warmup"):
        if values[name] is not None and not values["ema"]:
            raise UsageError(f"{option(name)} has no effect without {option('ema')}; give that too, or leave it out.")


def _hooks(
    on_step: Callable[[int, int, int, float, float], None] | None,
    on_epoch: Callable[[DetectionEpoch], None] | None,
    should_stop: Callable[[], bool],
) -> DetectionHooks:
    """Return the hooks of a run; see `train_detector`."""

    def step(record: StepRecord) -> None:
        if on_step is not None:
            on_step(record.epoch, record.batch, record.batches, record.loss, record.rate)

    return DetectionHooks(step, should_stop, on_epoch or DetectionHooks.epoch)


@contextmanager
def _counted(progress: Progress, total: int) -> Iterator[Callable[[Iterable[int]], Iterable[int]]]:
    """Give what wraps the loop over images, and counts them."""
    with follow(progress, "evaluate", total) as done:

        def wrapped(places: Iterable[int]) -> Iterator[int]:
            for place in places:
                yield place
                done(1)

        yield wrapped
