"""The course of a run as one image: loss, top-1 and learning rate over the epochs, as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repghost.files import write_text_atomically
from repghost.network.model import RepGhostNet
from repghost.training.follow.hooks import Hooks
from repghost.training.state.state import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FILE = "summary.svg"
_INK = "#7a7a7a"  # legible on white and on black
# Okabe and Ito's colours, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color/).
_TRAINED, _VALIDATION, _RAW = "#0072b2", "#d55e00", "#009e73"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "repghost",  # the same run has the same bytes
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _INK,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
} | dict.fromkeys(
    ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color", "ytick.color"), _INK
)


def plotting(folder: Path) -> Hooks:
    """Return hooks that write the plot of a run into its folder when it is done."""

    def end(model: RepGhostNet, history: Sequence[EpochRecord]) -> None:
        write_text_atomically(folder / PLOT_FILE, draw(history))

    return Hooks(end=end)


def draw(history: Sequence[EpochRecord]) -> str:
    """Return the SVG of a run; each line has its name as `id`.

    Args:
        history: one record per epoch, at least one.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        FigureCanvasSVG(figure)
        loss, top1, rate = figure.subplots(1, 3)
        epochs = [record.epoch for record in history]
        _line(loss, epochs, [record.loss for record in history], "training, augmented", _TRAINED, "loss-training")
        _line(loss, epochs, [record.held_out_loss for record in history], "judged", _VALIDATION, "loss-judged")
        _line(top1, epochs, [100 * record.train_top1 for record in history], "training, augmented", _TRAINED,
              "top1-training")  # fmt: skip
        _line(top1, epochs, [100 * record.held_out_top1 for record in history], "judged", _VALIDATION, "top1-judged")
        raw = [record.raw_top1 for record in history]
        if all(value is not None for value in raw):
            percent = [100 * value for value in raw if value is not None]
            _line(top1, epochs, percent, "judged, not averaged", _RAW, "top1-raw")
        _line(rate, epochs, [record.learning_rate for record in history], None, _TRAINED, "rate")
        for axes, title in ((loss, "loss"), (top1, "top-1, %"), (rate, "learning rate")):
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        loss.legend()
        top1.legend(loc="lower right")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return buffer.getvalue()


def _line(axes: Axes, epochs: list[int], values: list[float], label: str | None, colour: str, name: str) -> None:
    """Draw one line; a single epoch is a dot."""
    axes.plot(epochs, values, color=colour, label=label, gid=name, marker="o" if len(epochs) < 50 else "", markersize=3)
