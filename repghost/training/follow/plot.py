"""A plot of a training run as SVG and PNG: loss, top-1 and learning rate by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.network.model import RepGhostNet
from repghost.svg_figure import BLUE, GREEN, INK, ORANGE, figure_style, to_png, to_svg
from repghost.training.follow.hooks import Hooks
from repghost.training.state.state import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_FILE, PNG_FILE = "summary.svg", "summary.png"
_TRAINED, _EVALUATED, _RAW = BLUE, ORANGE, GREEN
_STYLE = {"font.size": 10, "axes.grid": True, "grid.color": INK, "grid.alpha": 0.25, "lines.linewidth": 1.5}


def plotting(folder: Path) -> Hooks:
    """Return hooks that write the plot of a run into its folder when it is done."""

    def end(model: RepGhostNet, history: Sequence[EpochRecord]) -> None:
        write_text_atomically(folder / PLOT_FILE, draw(history))
        write_bytes_atomically(folder / PNG_FILE, draw_png(history))

    return Hooks(end=end)


def draw(history: Sequence[EpochRecord]) -> str:
    """Return the SVG of a run; each line has its name as `id`.

    Args:
        history: one record per epoch, at least one.
    """
    with figure_style(_STYLE):
        return to_svg(_figure(history))


def draw_png(history: Sequence[EpochRecord]) -> bytes:
    """Return the PNG of a run, see `draw`."""
    with figure_style(_STYLE):
        return to_png(_figure(history))


def _figure(history: Sequence[EpochRecord]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    loss, top1, rate = figure.subplots(1, 3)
    epochs = [record.epoch for record in history]
    _line(loss, epochs, [record.loss for record in history], "training, augmented", _TRAINED, "loss-training")
    _line(loss, epochs, [record.held_out_loss for record in history], "evaluated", _EVALUATED, "loss-evaluated")
    _line(top1, epochs, [100 * record.train_top1 for record in history], "training, augmented", _TRAINED,
          "top1-training")  # fmt: skip
    _line(top1, epochs, [100 * record.held_out_top1 for record in history], "evaluated", _EVALUATED, "top1-evaluated")
    raw = [record.raw_top1 for record in history]
    if all(value is not None for value in raw):
        percent = [100 * value for value in raw if value is not None]
        _line(top1, epochs, percent, "evaluated, not averaged", _RAW, "top1-raw")
    _line(rate, epochs, [record.learning_rate for record in history], None, _TRAINED, "rate")
    for axes, title in ((loss, "loss"), (top1, "top-1, %"), (rate, "learning rate")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss.legend()
    top1.legend(loc="lower right")
    return figure


def _line(axes: Axes, epochs: list[int], values: list[float], label: str | None, colour: str, name: str) -> None:
    """Draw one line; a single epoch is a dot."""
    axes.plot(epochs, values, color=colour, label=label, gid=name, marker="o" if len(epochs) < 50 else "", markersize=3)
