"""Figures of evaluations, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from repghost.svg_figure import BLUE, ORANGE
from repghost.terminal import escape

INCHES = 0.28  # of a row
COUNTED = 20  # classes of a matrix that has room for numbers in its cells


class ShownFigure(Figure):
    """A figure that a notebook shows as it is, without pyplot."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def plot_confusion(title: str, classes: tuple[str, ...], confusion: NDArray[np.int64]) -> Figure:
    """Return a confusion matrix whose rows are shares of a class.

    Args:
        title: above it.
        classes: their names.
        confusion: int64 [classes, classes], rows are the true classes.
    """
    count = len(classes)
    side = max(4.5, 3 + INCHES * count)
    figure = ShownFigure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(confusion / np.maximum(confusion.sum(1, keepdims=True), 1), vmin=0, vmax=1, cmap="Blues")
    if count <= COUNTED:
        for row, column in np.argwhere(confusion).tolist():
            dark = confusion[row, column] > confusion[row].sum() / 2
            colour = "white" if dark else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, fontsize=8)
    names = [escape(name, 30) for name in classes]
    axes.set_xticks(range(count), names, rotation=90, parse_math=False)
    axes.set_yticks(range(count), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("class")
    axes.set_title(escape(title, 80), parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the class")
    return figure


def plot_bars(title: str, names: Sequence[str], series: Sequence[tuple[str, list[int]]]) -> Figure:
    """Return horizontal bars of numbers of images, those of one row on top of each other.

    Args:
        title: above them.
        names: of the rows.
        series: what a colour means, and its number in each row.
    """
    figure = ShownFigure(figsize=(8, 1.2 + INCHES * max(1, len(names))), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(names))
    for (label, values), colour in zip(series, (ORANGE, BLUE), strict=False):
        axes.barh(range(len(names)), values, left=left, color=colour, label=escape(label, 60))
        left = left + np.asarray(values)
    axes.set_yticks(range(len(names)), [escape(name, 60) for name in names], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("pictures")
    axes.set_title(escape(title, 80), parse_math=False)
    axes.legend()
    return figure
