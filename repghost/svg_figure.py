"""The look that all our figures share, and their bytes by matplotlib: the same figure is the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#757575"  # of text and axes: 4.5 to 1 on white and on black, since the background is the page's
# Okabe and Ito's colours, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "repghost",  # of the ids in the file, which are random otherwise
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
} | dict.fromkeys(
    ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color", "ytick.color"), INK
)


def figure_style(own: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Return a context in which figures have our style.

    Args:
        own: further settings of one figure, as matplotlib's rcParams name them.
    """
    import matplotlib

    style: AbstractContextManager[None] = matplotlib.rc_context({**STYLE, **own})
    return style


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG with a transparent background; to be called inside `figure_style`."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG on white, for where SVG is not shown; to be called inside `figure_style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
