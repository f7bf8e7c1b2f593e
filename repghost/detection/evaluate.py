"""Average precision of a detector, computed by pycocotools as COCO defines it."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from repghost.data.images.decode import ImageError
from repghost.detection.data.coco import CocoImages
from repghost.detection.intervals import FIFTY, Resampled, precisions, resample, tallies_of
from repghost.distributed.ranks import Ranks

MASK_THRESHOLD = 0.5  # of a mask's probability, as Mask R-CNN's authors


@dataclass(frozen=True)
class Precision:
    """COCO's figures for boxes or masks, in [0, 1]; None where no object of that kind is in the set."""

    ap: float | None  # mean over overlaps of 0.50 to 0.95
    ap50: float | None
    ap75: float | None
    ap_small: float | None  # objects below 32 x 32 pixels
    ap_medium: float | None
    ap_large: float | None  # above 96 x 96
    ar100: float | None  # recall with 100 detections per image


@dataclass(frozen=True)
class Scores:
    """How good a detector is on one split."""

    pictures: int
    objects: int
    boxes: Precision
    masks: Precision | None
    broken: tuple[str, ...]  # images that could not be decoded; they count as images without detections
    classes: tuple[tuple[str, float | None], ...] = ()  # AP of boxes at an overlap of 0.5 by name; None without objects
    resampled: Resampled | None = None  # of boxes, where it was asked for


@torch.no_grad()
def evaluate(
    model: Callable[[list[torch.Tensor]], list[dict[str, torch.Tensor]]],
    dataset: CocoImages,
    ranks: Ranks | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    resamples: int = 0,
) -> Scores:
    """Run a detector on every image of a split; the processes share the images.

    Args:
        model: a detector in evaluation mode, or what gives boxes as one does.
        dataset: with masks, where the detector gives masks and they shall be evaluated.
        ranks: this process among those of torchrun.
        progress: wraps the loop.
        resamples: how often images are drawn with replacement, for intervals; 0 for none.
    """
    ranks = ranks or Ranks()
    detections: list[dict[str, Any]] = []
    broken: list[str] = []
    for place in progress(range(ranks.rank, len(dataset), ranks.count)):
        try:
            image = dataset.sample(place).image
        except ImageError as error:
            broken.append(str(error))
            continue
        (found,) = model([image.to(ranks.device)])
        detections += _as_coco(dataset, dataset.ids[place], found)
    everything = [row for part in ranks.gather(detections) for row in part]
    messages = tuple(message for part in ranks.gather(broken) for message in part)
    kinds = ["bbox", "segm"] if dataset.masks and (not everything or "segmentation" in everything[0]) else ["bbox"]
    evaluators = [_evaluator(dataset, everything, kind) for kind in kinds]
    figures = [_precision(evaluator) for evaluator in evaluators]
    tallies = tallies_of(evaluators[0])
    by_class = precisions(tallies, np.arange(len(dataset)))[:, FIFTY]
    names = [dataset.coco.cats[number]["name"] for number in evaluators[0]._paramsEval.catIds]
    return Scores(
        pictures=len(dataset),
        objects=sum(not row.get("iscrowd", 0) for row in dataset.coco.dataset["annotations"]),
        boxes=figures[0],
        masks=figures[1] if len(figures) > 1 else None,
        broken=messages,
        classes=tuple((name, None if np.isnan(ap) else float(ap)) for name, ap in zip(names, by_class, strict=True)),
        resampled=resample(tallies, resamples) if resamples else None,
    )


def precision_of_boxes(dataset: CocoImages, found: Iterable[dict[str, torch.Tensor]]) -> Precision:
    """Return COCO's figures for boxes that are there already.

    Args:
        dataset: the images.
        found: boxes in pixels of each image, labels and scores, in the images' order.
    """
    rows = [row for number, boxes in zip(dataset.ids, found, strict=True) for row in _as_coco(dataset, number, boxes)]
    return _precision(_evaluator(dataset, rows, "bbox"))


def _as_coco(dataset: CocoImages, number: int, found: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    """Return the detections of one image as rows of COCO's result format."""
    boxes = found["boxes"].cpu().double().numpy()
    boxes[:, 2:] -= boxes[:, :2]
    numbers = dataset.numbers()
    labels, scores = found["labels"].tolist(), found["scores"].tolist()
    kept = [place for place, label in enumerate(labels) if label in numbers]  # the file may lack a category
    rows: list[dict[str, Any]] = [
        {
            "image_id": number,
            "category_id": numbers[labels[place]],
            "bbox": boxes[place].tolist(),
            "score": float(scores[place]),
        }
        for place in kept
    ]
    if dataset.masks and "masks" in found:
        from pycocotools import mask as coder

        for row, mask in zip(rows, found["masks"][kept, 0].cpu().numpy(), strict=True):
            row["segmentation"] = coder.encode(np.asfortranarray(mask > MASK_THRESHOLD, dtype=np.uint8))
    return rows


def _evaluator(dataset: CocoImages, detections: Sequence[dict[str, Any]], kind: str) -> Any:
    """Return pycocotools' evaluation, done; no detection at all gives zeros where there are objects."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints a table
        warnings.simplefilter("ignore", DeprecationWarning)  # its compiled code speaks to numpy in the old way
        results: Any = COCO()
        if detections:
            results = dataset.coco.loadRes([dict(row) for row in detections])
        else:
            results.dataset = {**dataset.coco.dataset, "annotations": []}
            results.createIndex()
        evaluator = COCOeval(dataset.coco, results, kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def _precision(evaluator: Any) -> Precision:
    """Return COCO's figures."""
    values = [None if value < 0 else float(value) for value in evaluator.stats]
    ap, ap50, ap75, small, medium, large, _, _, recall = values[:9]
    return Precision(ap, ap50, ap75, small, medium, large, recall)
