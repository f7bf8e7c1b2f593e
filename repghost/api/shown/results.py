"""What an evaluation found, and how two networks differ on the same images; as text, HTML, JSON and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.api.shown.html import page, picture, table
from repghost.data.images.preprocess import Preprocess
from repghost.evaluation.accuracy import Accuracy, PairedDifference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 10  # rows of a table in a notebook
SHOWN_MISTAKES = 12
MATRIX_CLASSES, PAIRS = 40, 20  # a figure of more classes shows the pairs that are confused most


@dataclass(frozen=True, eq=False)
class Mistake:
    """An image whose class a network does not put first.

    Attributes:
        name: of the image.
        label: its class.
        prediction: the class that the network puts first.
        probability: softmax of that class.
        image: as the network was given it.
    """

    name: str
    label: str
    prediction: str
    probability: float
    image: Image.Image

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, without the image."""
        return {key: getattr(self, key) for key in ("name", "label", "prediction", "probability")}


@dataclass(frozen=True)
class ClassAccuracy:
    """What was measured of one class: the share of its images that are right, with a 95 % interval.

    Attributes:
        name: of the class.
        pictures: images of the class.
        correct: those that the network puts first into it.
        predicted: images of any class that the network puts first into it.
    """

    name: str
    pictures: int
    correct: int
    predicted: int

    @property
    def recall(self) -> float | None:
        """The share of the class's images that are right; None where it has none."""
        return self.correct / self.pictures if self.pictures else None

    @property
    def precision(self) -> float | None:
        """The share of the images put first into the class that belong there; None where there are none."""
        return self.correct / self.predicted if self.predicted else None


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How good a network is on labelled images.

    Attributes:
        name: of the network.
        by: what computed it.
        preprocess: how its images were prepared.
        classes: in the order of the logits.
        labels: int64 [N], the true classes.
        predictions: int64 [N], the classes that the network puts first.
        top1: share of right predictions with its 95 % interval (Wilson).
        top5: share of images whose class is among the best five.
        loss: mean cross-entropy in nats.
        mistakes: the wrong predictions that the network is surest of, surest first.
        broken: what is said of images that could not be decoded; they are not counted.
        notes: what to know of how the images were read.
    """

    name: str
    by: str
    preprocess: Preprocess
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    top1: Accuracy
    top5: Accuracy
    loss: float
    mistakes: tuple[Mistake, ...] = ()
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """int64 [classes, classes]: how many images of a class (row) the network puts first into another (column)."""
        count = len(self.classes)
        flat = np.bincount(self.labels * count + self.predictions, minlength=count * count)
        return flat.reshape(count, count)

    @property
    def per_class(self) -> tuple[ClassAccuracy, ...]:
        """What was measured of each class, in the order of the logits."""
        count = len(self.classes)
        images, predicted = (np.bincount(values, minlength=count) for values in (self.labels, self.predictions))
        right = np.bincount(self.labels[self.labels == self.predictions], minlength=count)
        rows = zip(self.classes, images.tolist(), right.tolist(), predicted.tolist(), strict=True)
        return tuple(ClassAccuracy(*row) for row in rows)

    def confused(self, count: int = SHOWN) -> list[tuple[str, str, int]]:
        """Return the pairs of classes that are confused most: the true class, the predicted one, how many images."""
        wrong = self.labels != self.predictions
        pairs, counts = np.unique(np.stack([self.labels, self.predictions])[:, wrong], axis=1, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:count]
        return [(self.classes[pairs[0, i]], self.classes[pairs[1, i]], int(counts[i])) for i in order.tolist()]

    def __repr__(self) -> str:
        broken = f", {len(self.broken)} broken ones left out" if self.broken else ""
        return (
            f"{self.name} by {self.by} on {len(self.labels)} pictures{broken}: top-1 {share(self.top1)}, "
            f"top-5 {self.top5.top1:.2%}, loss {self.loss:.4f}"
        )

    def _repr_html_(self) -> str:
        worst = sorted((row for row in self.per_class if row.pictures), key=lambda row: (row.recall, row.name))[:SHOWN]
        rows = [(row.name, str(row.pictures), percent(row.recall), percent(row.precision)) for row in worst]
        pairs = [(label, other, str(count)) for label, other, count in self.confused()]
        shown = "".join(
            picture(it.image, f"{it.label}, not {it.prediction} ({it.probability:.0%})")
            for it in self.mistakes[:SHOWN_MISTAKES]
        )
        return page(
            "\n".join([repr(self), *self.notes]),
            table(("weakest classes", "#pictures", "#recall", "#precision"), rows),
            table(("class", "taken for", "#pictures"), pairs) if pairs else "",
            shown,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "name": self.name,
            "by": self.by,
            "preprocess": self.preprocess.to_dict(),
            "classes": list(self.classes),
            "pictures": len(self.labels),
            "top1": self.top1.to_dict(),
            "top5": self.top5.to_dict(),
            "loss": self.loss,
            "per_class": [dict(vars(row)) for row in self.per_class],
            "confusion": self.confusion.tolist(),
            "mistakes": [mistake.to_dict() for mistake in self.mistakes],
            "broken": list(self.broken),
            "notes": list(self.notes),
        }

    def plot(self) -> Figure:
        """Return a figure: the confusion matrix, or of many classes the pairs that are confused most.

        `evaluation.plot().savefig("confusion.png")` writes it.
        """
        from repghost.api.shown.figures import plot_bars, plot_confusion

        if len(self.classes) > MATRIX_CLASSES:
            pairs = self.confused(PAIRS)
            names = [f"{label} taken for {other}" for label, other, _ in pairs]
            return plot_bars(self.name, names, [("pictures", [count for _, _, count in pairs])])
        return plot_confusion(f"{self.name}: top-1 {self.top1.top1:.2%}", self.classes, self.confusion)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two networks on the same images.

    Attributes:
        before: of the network that is compared with.
        after: of the other one.
        change: top-1 of `after` minus that of `before`, paired, with its 95 % interval.
    """

    before: Evaluation
    after: Evaluation
    change: PairedDifference

    @property
    def per_class(self) -> tuple[tuple[str, int, int], ...]:
        """For each class its name, and how many of its images only `before` and only `after` have right."""
        labels = self.before.labels
        was, now = self.before.predictions == labels, self.after.predictions == labels
        count = len(self.before.classes)
        lost, won = (np.bincount(labels[which], minlength=count).tolist() for which in (was & ~now, now & ~was))
        return tuple(zip(self.before.classes, lost, won, strict=True))

    def __repr__(self) -> str:
        change = self.change
        interval = f"{100 * change.low:+.2f} to {100 * change.high:+.2f}"
        return (
            f"{self.after.name} against {self.before.name} on {change.pictures} pictures: top-1 "
            f"{self.before.top1.top1:.2%} to {self.after.top1.top1:.2%}, change {100 * change.difference:+.2f} points "
            f"(95 %: {interval}), {change.agreeing} same answers"
        )

    def _repr_html_(self) -> str:
        moved = sorted(self.per_class, key=lambda row: (row[2] - row[1], row[0]))[:SHOWN]
        rows = [(name, str(lost), str(won)) for name, lost, won in moved if lost or won]
        lines = [(it.name, share(it.top1), f"{it.top5.top1:.2%}", f"{it.loss:.4f}") for it in (self.before, self.after)]
        return page(
            repr(self),
            table(("network", "#top-1", "#top-5", "#loss"), lines),
            table(("class", "#only before right", "#only after right"), rows) if rows else "",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"before": self.before.to_dict(), "after": self.after.to_dict(), "change": self.change.to_dict()}

    def plot(self) -> Figure:
        """Return a figure: of each class, how many images only one of the two has right."""
        from repghost.api.shown.figures import plot_bars

        rows = sorted(self.per_class, key=lambda row: -(row[1] + row[2]))[:PAIRS]
        lost = f"only {self.before.name} right", [row[1] for row in rows]
        won = f"only {self.after.name} right", [row[2] for row in rows]
        return plot_bars(f"{self.after.name} against {self.before.name}", [row[0] for row in rows], [lost, won])


def share(found: Accuracy) -> str:
    """Return a share with its interval."""
    return f"{found.top1:.2%} (95 %: {100 * found.low:.2f} to {100 * found.high:.2f})"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return "" if value is None else f"{value:.2%}"


def surest(mistakes: Sequence[Mistake], count: int) -> tuple[Mistake, ...]:
    """Return the mistakes of the highest probability, highest first."""
    return tuple(sorted(mistakes, key=lambda mistake: -mistake.probability)[:count])
