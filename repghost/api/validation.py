"""The accuracy of several networks on the same images, in every form they have: `repghost.validate`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calib.importer.names import is_library_or_onnx, is_named
from calib.importer.onnx_file import is_quantized
from compile.stages.predictors import open_bundle, open_float, open_qdq
from repghost.api.bundles import as_path
from repghost.api.dataset import SetLike, place_of
from repghost.api.evaluation import Recorder
from repghost.api.shown.mistakes import check_place, write_mistakes
from repghost.api.shown.notes import warn_of
from repghost.api.shown.progress import Progress, follow
from repghost.api.shown.validated import Validated, ValidatedWidths
from repghost.data import ImageSet
from repghost.data.images.chosen_preprocess import with_values
from repghost.data.subset import choose_balanced
from repghost.distributed.ranks import TIMEOUT, Ranks, join
from repghost.errors import UsageError, option
from repghost.evaluation.predictor import Predictor
from repghost.network.spec import parse_width
from repghost.validation.published_widths import WidthFiles
from repghost.validation.published_widths import validate_widths as rows_of_widths
from repghost.validation.sources import EMA, open_checkpoints
from repghost.validation.validate import Reading, Validation
from repghost.validation.validate import validate as measure

BATCH = 250  # images per step
MISTAKES = 500  # that are written with their images
CACHE = "build/.cache"  # where compiled objects are kept


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    """The arguments that both functions share, each under its own name."""

    split: str
    images: int | None
    seed: int
    preprocess: Path | None
    width: float | None
    weights: str | None
    batch: int
    compiled: bool
    cache: Path
    class_order: str | None
    progress: Progress
    workers: int
    img_size: int | None
    crop_pct: float | None
    ema: bool
    recorder: Recorder | None = None


def validate(
    networks: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    data: SetLike,
    *,
    split: str = "test",
    images: int | None = None,
    seed: int = 0,
    preprocess: str | os.PathLike[str] | None = None,
    width: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    batch: int = BATCH,
    workers: int = 0,
    img_size: int | None = None,
    crop_pct: float | None = None,
    ema: bool = False,
    compiled: bool = False,
    cache: str | os.PathLike[str] = CACHE,
    mistakes: str | os.PathLike[str] | None = None,
    class_order: str | None = None,
    class_map: str | os.PathLike[str] | None = None,
    val_share: float | None = None,
    device: str | None = None,
    dist_timeout: float = TIMEOUT,
    progress: Progress = None,
) -> Validated:
    """Return top-1 and top-5 of networks in files on the same images, and the paired change against the first.

    A checkpoint is measured as it is and fused, one with averaged weights also without the average; a QDQ file by the
    numpy reference; a bundle by its own code. `repghost.evaluate` takes one network in any form, and tells more of it.
    In processes of torchrun the images are shared, and each process returns the same.

    Args:
        networks: a checkpoint, a float or a QDQ file, the folder of a bundle, "timm:NAME"; or several.
        data: a set of images: what `repghost.open_dataset` returned, or its path.
        split: of the set.
        images: how many are read, equally many of each class; None: all.
        seed: chooses them.
        preprocess: a JSON file, instead of the networks' own.
        width: needed for the checkpoint "timm"; a checkpoint of another width is refused.
        weights: of a name: a weight file, or "pretrained".
        batch: images per step.
        workers: processes that decode; 0 decodes in this one. They change no result.
        img_size: pixels of the input, where a network takes any.
        crop_pct: input size / resize, instead of the networks' own.
        ema: refuse networks of which none has averaged weights; where there are any, they are always measured.
        compiled: compile QDQ files for this machine too, and compare every bit.
        cache: where `compiled` keeps objects.
        mistakes: a folder for the wrong images of one network, the surest `MISTAKES` at most, with what they were taken
            for, and its confusion matrix as JSON and PNG; what an earlier run wrote there is replaced.
        class_order: of a network that does not name its classes: "natural", "characters", or a file of names.
        class_map: a file with the class of each picture, for a split without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.
        device: "cpu" or "cuda"; None: a GPU where there is one.
        dist_timeout: seconds to wait for other processes.
        progress: see `repghost.evaluate`.

    Raises:
        UsageError: when networks and images do not fit together.
        IntegrityError: when two forms of one integer program differ in a bit, or a bundle was changed.
        RepGhostError: when another process is gone.
    """
    named = [networks] if isinstance(networks, str | os.PathLike) else list(networks)
    if not named:
        raise UsageError("there is nothing to measure; a network is a checkpoint, a QDQ file or a bundle.")
    multiplier = None if width is None else parse_width(width, custom=True)
    wanted = _Arguments(
        split=split,
        images=images,
        seed=seed,
        preprocess=as_path(preprocess),
        width=multiplier,
        weights=None if weights is None else str(weights),
        batch=batch,
        compiled=compiled,
        cache=Path(cache),
        class_order=class_order,
        progress=progress,
        workers=workers,
        img_size=img_size,
        crop_pct=crop_pct,
        ema=ema,
        recorder=None if mistakes is None else Recorder(MISTAKES),
    )
    if mistakes is not None:
        check_place(Path(mistakes))
        if len(named) > 1:
            raise UsageError(
                f"{option('mistakes')} is about one network, and {len(named)} are given; give one of them."
            )
    place = place_of(data, class_map, val_share)
    with join(device, dist_timeout) as ranks:
        if mistakes is not None and ranks.count > 1:
            raise UsageError(f"{option('mistakes')} is for one process; start without torchrun.")
        found, last = _measure(named, place.open(split).images, wanted, ranks)
    if wanted.recorder is None or mistakes is None:
        return Validated(str(place.path), split, found)
    seen = wanted.recorder.evaluation(last, found)
    write_mistakes(Path(mistakes), seen)
    return Validated(str(place.path), split, found, seen)


def validate_widths(
    all_widths: str | os.PathLike[str],
    data: SetLike,
    *,
    split: str = "test",
    images: int | None = None,
    seed: int = 0,
    preprocess: str | os.PathLike[str] | None = None,
    batch: int = BATCH,
    workers: int = 0,
    img_size: int | None = None,
    crop_pct: float | None = None,
    compiled: bool = False,
    cache: str | os.PathLike[str] = CACHE,
    class_order: str | None = None,
    class_map: str | os.PathLike[str] | None = None,
    val_share: float | None = None,
    device: str | None = None,
    dist_timeout: float = TIMEOUT,
    progress: Progress = None,
) -> ValidatedWidths:
    """Return the accuracy of every width in a folder of checkpoints, beside the published figures.

    Args:
        all_widths: the folder; a QDQ file with the .qdq.onnx name of a checkpoint is measured with it.
        data: a set of images; this and what follows as in `repghost.validate`.
        split: of the set.
        images: how many are read.
        seed: chooses them.
        preprocess: a JSON file.
        batch: images per step.
        workers: processes that decode.
        img_size: pixels of the input.
        crop_pct: input size / resize.
        compiled: compile QDQ files too.
        cache: of objects.
        class_order: of networks that do not name their classes.
        class_map: of pictures without class folders.
        val_share: of a folder of classes.
        device: "cpu" or "cuda".
        dist_timeout: seconds to wait for other processes.
        progress: see `repghost.evaluate`.

    Raises:
        UsageError: when the folder has no checkpoint, or two of one width; and as `repghost.validate`.
    """
    wanted = _Arguments(
        split=split,
        images=images,
        seed=seed,
        preprocess=as_path(preprocess),
        width=None,
        weights=None,
        batch=batch,
        compiled=compiled,
        cache=Path(cache),
        class_order=class_order,
        progress=progress,
        workers=workers,
        img_size=img_size,
        crop_pct=crop_pct,
        ema=False,
    )
    place = place_of(data, class_map, val_share)
    with join(device, dist_timeout) as ranks:
        dataset = place.open(split).images

        def of_width(files: WidthFiles) -> Validation:
            paths = [path for path in (files.checkpoint, files.quantized) if path is not None]
            return _measure(paths, dataset, wanted, ranks)[0]

        rows = rows_of_widths(Path(all_widths), of_width)
    return ValidatedWidths(str(place.path), tuple(rows))


def _measure(
    networks: Sequence[str | os.PathLike[str]], dataset: ImageSet, wanted: _Arguments, ranks: Ranks
) -> tuple[Validation, Predictor]:
    """Return the accuracy of networks on the same images, and the last form of the last one."""
    opened = [found for source in networks for found in _open(str(source), ranks, dataset, wanted)]
    predictors = [_prepared_as_asked(found, wanted) for found in opened]
    if wanted.ema and not any(EMA in found.name for found in predictors):
        raise UsageError(f"{option('ema')}: no averaged weights in {', '.join(map(str, networks))}; leave it out.")
    indices = None if wanted.images is None else choose_balanced(dataset.labels, wanted.images, wanted.seed)
    share = -(-(len(dataset) if indices is None else len(indices)) // ranks.count)
    with follow(wanted.progress if ranks.first else False, "validate", share) as done:
        see = None if wanted.recorder is None else wanted.recorder.see
        reading = Reading(
            indices, wanted.batch, _counting(done, share, wanted.batch), wanted.class_order, see, wanted.workers
        )
        found = measure(predictors, dataset, reading, ranks)
    warn_of((), found.broken)
    return found, predictors[-1]


def _counting(done: Callable[[int], None], count: int, batch: int) -> Callable[[Iterable[int]], Iterable[int]]:
    """Return what wraps the loop over the first places of batches, and tells how many images are behind it."""

    def wrapped(places: Iterable[int]) -> Iterator[int]:
        for place in places:
            yield place
            done(min(batch, count - place))

    return wrapped


def _prepared_as_asked(network: Predictor, wanted: _Arguments) -> Predictor:
    """Return a network whose images are prepared at another size, or with another crop."""
    asked = {"img_size": wanted.img_size, "crop_pct": wanted.crop_pct}
    given = {name: value for name, value in asked.items() if value is not None}
    changed = with_values(network.preprocess, given) if given else network.preprocess
    if changed.size != network.preprocess.size and network.program is not None:
        raise UsageError(
            f"{option('img_size', wanted.img_size)}: {network.source} takes {network.preprocess.height} x "
            f"{network.preprocess.width} pixels and no others; leave it out."
        )
    return replace(network, preprocess=changed)


def _open(source: str, ranks: Ranks, dataset: ImageSet, wanted: _Arguments) -> list[Predictor]:
    """Return the networks of one name or path."""
    path, preprocess = Path(source), wanted.preprocess
    if is_library_or_onnx(source) and (is_named(source) or not is_quantized(path)):
        return open_float(source, wanted.weights, preprocess, ranks)
    if is_library_or_onnx(source):
        cache = wanted.cache if wanted.compiled else None
        return open_qdq(path, preprocess, ranks, cache, dataset, wanted.class_order)
    if path.is_dir():
        return open_bundle(path)
    return open_checkpoints(source, preprocess, ranks.device, wanted.width, wanted.batch)
