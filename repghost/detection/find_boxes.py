"""From the numbers that a light detector gives to boxes: the definition. It needs numpy alone, for devices.

repghost-runtime has this very file, and so have bundles for Jetson; `compile/runner/inference/boxes.c` and
`compile/web/library/boxes.js` repeat it.

The network has maps of several resolutions. Each pixel of a map has some anchors, boxes around its centre, and for each
anchor K + 1 scores, the first of which is for background, and four numbers that move and stretch the anchor. Boxes are
decoded as in SSD (arXiv 1512.02325): centre = anchor's + d / 10 * side, side = anchor's * exp(d / 5). Each class is
then thinned out on its own: the most probable box suppresses those that overlap it by more than a share of their union.

All arithmetic is float64, one rounded operation after the other, and `exponential` is made of them, so that a device
gives the same boxes to the bit. Coordinates are shares of the image's width and height, whatever its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

VERSION = 1
MOST_CLASSES, MOST_LEVELS, MOST_ANCHORS, MOST_SIDE = 1000, 16, 64, 1 << 12
MOST_BOXES = 1 << 20  # anchors of all levels together
MOST_KEPT = 1000  # candidates of a class, and boxes of an image
COORDINATES = 4
LARGEST_STRETCH = 4.135166556742356  # log(1000 / 16), as torchvision
LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
TERMS = 13  # of the series, which is exact to float64 within half of log(2)
LOWEST = -700.0  # the exponential of less is 0 here


@dataclass(frozen=True)
class Level:
    """One resolution of a detector.

    Attributes:
        rows: of its maps.
        columns: of its maps.
        anchors: width and height of each anchor, as shares of the image's.
    """

    rows: int
    columns: int
    anchors: tuple[tuple[float, float], ...]

    @property
    def count(self) -> int:
        """How many anchors it has."""
        return self.rows * self.columns * len(self.anchors)


@dataclass(frozen=True)
class Rule:
    """Everything that turns a detector's numbers into boxes.

    The numbers are the score maps of all levels, [rows, columns, anchors, classes + 1] each, and then their box maps,
    [rows, columns, anchors, 4] each.

    Attributes:
        classes: kinds of objects.
        levels: from the finest to the coarsest.
        score: probability that a box has to exceed.
        overlap: share of their union above which the less probable of two boxes of a class is dropped.
        candidates: most boxes of a class that are compared with each other.
        detections: most boxes of an image.

    Raises:
        ValueError: when a value is out of range.
    """

    classes: int
    levels: tuple[Level, ...]
    score: float = 0.05
    overlap: float = 0.5
    candidates: int = 200
    detections: int = 100

    def __post_init__(self) -> None:
        """Check every value."""
        sizes = [(self.classes, MOST_CLASSES), (self.candidates, MOST_KEPT), (self.detections, MOST_KEPT)]
        sizes += [(len(self.levels), MOST_LEVELS), *((len(level.anchors), MOST_ANCHORS) for level in self.levels)]
        sizes += [(side, MOST_SIDE) for level in self.levels for side in (level.rows, level.columns)]
        if not all(type(number) is int and 1 <= number <= most for number, most in sizes):
            raise ValueError(f"the rule of the boxes has a size out of range; it is {self!r:.300}.")
        if self.anchors > MOST_BOXES or self.numbers > 1 << 26:
            raise ValueError(f"the detector has {self.anchors} anchors; at most {MOST_BOXES} are supported.")
        if not (0 <= self.score < 1 and 0 < self.overlap <= 1):
            raise ValueError(f"score {self.score} and overlap {self.overlap} of boxes must be shares below 1.")
        shares = [share for level in self.levels for anchor in level.anchors for share in anchor]
        if not all(0 < share <= 16 for share in shares):
            raise ValueError("the sides of anchors must be shares of the picture's, above 0 and at most 16.")

    @property
    def anchors(self) -> int:
        """How many there are at all levels."""
        return sum(level.count for level in self.levels)

    @property
    def numbers(self) -> int:
        """How many numbers the network gives."""
        return self.anchors * (self.classes + 1 + COORDINATES)

    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Return height, width and channels of the network's results in their order."""
        sizes = (self.classes + 1, COORDINATES)
        return tuple((it.rows, it.columns, len(it.anchors) * size) for size in sizes for it in self.levels)

    def grid(self) -> Doubles:
        """Return centre x, centre y, width and height of each anchor, float64 [anchors, 4], as shares of the image."""
        parts = []
        for level in self.levels:
            y = (np.arange(level.rows) + 0.5) / level.rows
            x = (np.arange(level.columns) + 0.5) / level.columns
            part = np.empty((level.rows, level.columns, len(level.anchors), COORDINATES))
            part[..., 0], part[..., 1] = x[None, :, None], y[:, None, None]
            part[..., 2:] = np.asarray(level.anchors)
            parts.append(part.reshape(-1, COORDINATES))
        return np.concatenate(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary that `from_dict` turns back into an equal rule."""
        levels = [
            {"rows": it.rows, "columns": it.columns, "anchors": [list(pair) for pair in it.anchors]}
            for it in self.levels
        ]
        return {"version": VERSION, "classes": self.classes, **{key: getattr(self, key) for key in _NUMBERS},
                "levels": levels}  # fmt: skip

    @classmethod
    def from_dict(cls, values: Any) -> Rule:
        """Return the rule that `to_dict` wrote.

        Raises:
            ValueError: for another version, a missing or unknown key, or a value out of range.
        """
        if not isinstance(values, Mapping) or values.get("version") != VERSION:
            raise ValueError(f"the rule of the boxes is not of version {VERSION}, which this program reads.")
        if set(values) != {"version", "classes", "levels", *_NUMBERS}:
            raise ValueError(f"the rule of the boxes has other keys than {['classes', 'levels', *_NUMBERS]}.")
        shares = [values["score"], values["overlap"]]
        if not isinstance(values["levels"], (list, tuple)) or not all(_is_number(share) for share in shares):
            raise ValueError("the rule of the boxes is damaged: its levels are no list, or a share is no number.")
        levels = tuple(_level(entry) for entry in values["levels"])
        return cls(**{**{key: values[key] for key in ("classes", *_NUMBERS)}, "levels": levels})


_NUMBERS = ("score", "overlap", "candidates", "detections")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e6 < value < 1e6


def _level(entry: Any) -> Level:
    if not isinstance(entry, Mapping) or set(entry) != {"rows", "columns", "anchors"}:
        raise ValueError("the rule of the boxes is damaged: a level has rows, columns and anchors.")
    pairs = entry["anchors"]
    pairs = pairs if isinstance(pairs, (list, tuple)) else [None]
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 and all(map(_is_number, pair)) for pair in pairs):
        raise ValueError("the rule of the boxes is damaged: an anchor is a pair of numbers.")
    return Level(entry["rows"], entry["columns"], tuple((float(width), float(height)) for width, height in pairs))


@dataclass(frozen=True, eq=False)
class Boxes:
    """What a detector found on one image, the most probable first.

    Attributes:
        boxes: float64 [N, 4]: left, top, right, bottom as shares of width and height.
        labels: int64 [N], from 1.
        scores: float64 [N], probabilities.
    """

    boxes: Doubles
    labels: NDArray[np.int64]
    scores: Doubles
    anchors: NDArray[np.int64] = field(repr=False)  # [N], the place of the anchor of each

    def __len__(self) -> int:
        return len(self.labels)

    def on(self, width: int, height: int) -> Doubles:
        """Return the boxes in pixels of an image."""
        return self.boxes * np.asarray([width, height, width, height], np.float64)

    def listed(self, names: Sequence[str], width: int, height: int) -> list[dict[str, Any]]:
        """Return the boxes as `repghost-run --detect` prints them, in pixels of an image.

        Args:
            names: of the classes.
            width: of the image.
            height: of the image.
        """
        labels, scores, edges = self.labels.tolist(), self.scores.tolist(), self.on(width, height).tolist()
        return [
            {"class": labels[at] - 1, "label": names[labels[at] - 1], "score": scores[at], "box": edges[at]}
            for at in range(len(self))
        ]


def exponential(x: Doubles) -> Doubles:
    """Return e to the power of numbers up to 10, with the same bits on every machine."""
    turns = np.rint(x * LOG2_E)
    rest = (x - turns * LN2_HIGH) - turns * LN2_LOW
    value = np.full_like(x, 1.0 / math.factorial(TERMS))
    for term in range(TERMS - 1, -1, -1):
        value = value * rest + 1.0 / math.factorial(term)
    return np.where(x < LOWEST, 0.0, np.ldexp(value, np.maximum(turns, -1100).astype(np.int32)))


def probabilities(scores: NDArray[np.float32]) -> Doubles:
    """Return the softmax of scores [anchors, classes + 1]; zeros for an anchor with a score that is not finite."""
    finite = np.asarray(np.isfinite(scores).all(axis=1))
    wide = np.where(finite[:, None], scores, 0).astype(np.float64)
    raised = exponential(wide - wide.max(axis=1, keepdims=True))
    total = np.zeros(len(raised))
    for column in raised.T:
        total = total + column
    return np.where(finite[:, None], raised / total[:, None], 0.0)


def decode(moves: NDArray[np.float32], grid: Doubles) -> Doubles:
    """Return left, top, right and bottom of moved anchors, cut at the image; without a side where a move is not finite.

    Args:
        moves: [N, 4]: of the centre in x and y, of width and height.
        grid: their anchors, from `Rule.grid`.
    """
    finite = np.asarray(np.isfinite(moves).all(axis=1))
    wide = np.where(finite[:, None], moves, 0).astype(np.float64)
    centre = wide[:, :2] / 10.0 * grid[:, 2:] + grid[:, :2]
    side = exponential(np.minimum(wide[:, 2:] / 5.0, LARGEST_STRETCH)) * grid[:, 2:]
    edges = np.concatenate([centre - side * 0.5, centre + side * 0.5], axis=1)
    return np.where(finite[:, None], np.minimum(np.maximum(edges, 0.0), 1.0), 0.0)


def find_boxes(rule: Rule, numbers: NDArray[np.float32]) -> Boxes:
    """Return the boxes of one image.

    Args:
        rule: of the detector.
        numbers: float32 [rule.numbers], what the network gives.
    """
    split = rule.anchors * (rule.classes + 1)
    shares = probabilities(numbers[:split].reshape(rule.anchors, rule.classes + 1))
    moves, grid = numbers[split:].reshape(rule.anchors, COORDINATES), rule.grid()
    found: list[tuple[float, int, int, Doubles]] = []
    for label in range(1, rule.classes + 1):
        places = np.flatnonzero(shares[:, label] > rule.score)
        places = places[np.argsort(-shares[places, label], kind="stable")][: rule.candidates]
        boxes = decode(moves[places], grid[places])
        kept = thin_out(boxes, rule.overlap)
        found += [(-shares[places[k], label], label, int(places[k]), boxes[k]) for k in kept]
    found = sorted(found, key=lambda row: row[:3])[: rule.detections]
    return Boxes(
        np.asarray([row[3] for row in found], np.float64).reshape(-1, COORDINATES),
        np.asarray([row[1] for row in found], np.int64),
        np.asarray([-row[0] for row in found], np.float64),
        np.asarray([row[2] for row in found], np.int64),
    )


def thin_out(boxes: Doubles, overlap: float) -> Sequence[int]:
    """Return the places of boxes [N, 4], best first, that no kept one overlaps; those without area are dropped."""
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for place, box in enumerate(boxes):
        if not areas[place] > 0:
            continue
        best = boxes[kept]
        width = np.maximum(np.minimum(best[:, 2], box[2]) - np.maximum(best[:, 0], box[0]), 0.0)
        height = np.maximum(np.minimum(best[:, 3], box[3]) - np.maximum(best[:, 1], box[1]), 0.0)
        shared = width * height
        if not (shared > overlap * (areas[kept] + areas[place] - shared)).any():
            kept.append(place)
    return kept
