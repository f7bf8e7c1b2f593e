"""Which layers int8 hurts: the rows of an analysis as a value that a notebook shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calib.analysis.sensitivity import measure_sensitivity
from calib.analysis.sensitivity_page import Row, float_prices, make_rows, to_dict, to_figure, to_svg, to_table
from calib.analysis.wide_cost import added_shares
from calib.analysis.wide_gain import candidates, measure_wide_gains
from calib.ptq.apply import batches
from calib.quantize import Quantized
from calib.settings.config import QuantConfig
from calib.settings.policy import find_policy
from repghost.api.shown.html import page, table
from repghost.api.shown.progress import Progress, follow
from repghost.data.images.preprocess import Preprocess
from repghost.files import write_text_atomically
from repghost.graph.macs import shares_of_work
from repghost.sizes import reported
from repghost.tables import text_lines

__all__ = ["LayerSensitivities", "float_prices", "measure"]

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURED_PIXELS = 1 << 19  # of the images that measure: 128 at 64 pixels
SHOWN = 20


@dataclass(frozen=True, eq=False, repr=False)
class LayerSensitivities:
    """How much the predictions change when one tensor or one layer alone is quantized, the most sensitive first.

    Attributes:
        rows: one for each layer; divergences in nats, a mean over the images.
        about: the network, the images and the settings; for CPUs also the divergence of all of int8 together.
    """

    rows: tuple[Row, ...]
    about: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The network and the size of its images."""
        return f"{self.about['model']}, {self.about['size']} px: change of the answers by one layer in int8"

    def lines(self, everything: bool = False) -> list[str]:
        """Return the rows as lines of text: the most sensitive ones, or all of them."""
        return text_lines(to_table(self.rows if everything else self.rows[:SHOWN]))

    def __repr__(self) -> str:
        return "\n".join([self.title, *self.lines()])

    def _repr_html_(self) -> str:
        found = to_table(self.rows[:SHOWN])
        heads = [f"{'#' if column.numeric else ''}{column.head}" for column in found.columns]
        return page(self.title, table(heads, [[cell.text for cell in row] for row in found.rows]))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return to_dict(self.rows, self.about)

    def plot(self) -> Figure:
        """Return a figure of horizontal bars, the most sensitive layer on top."""
        from repghost.api.shown.figures import ShownFigure

        return to_figure(self.rows, self.title, ShownFigure)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figure as SVG."""
        write_text_atomically(Path(path), to_svg(self.rows, self.title))
        return Path(path)


def measure(
    quantized: Quantized,
    images: NDArray[np.uint8],
    preprocess: Preprocess,
    about: Mapping[str, Any],
    prices: Mapping[str, float] | None = None,
    progress: Progress = None,
) -> LayerSensitivities:
    """Return the sensitivities of a quantized network on some images.

    Args:
        quantized: its graph and scales.
        images: uint8 [N, height, width, channels]; as many measure as hold `MEASURED_PIXELS`.
        preprocess: of the images.
        about: what the result says of the network.
        prices: microseconds that each layer takes longer in float, see `sensitivity_page.float_prices`.
        progress: called for each image.
    """
    few = images[: max(1, MEASURED_PIXELS // preprocess.pixels)]
    work = shares_of_work(quantized.graph, preprocess.size)
    with follow(progress, "measure", len(few)) as done:
        entries = measure_sensitivity(quantized.graph, quantized.spec, batches(few, preprocess), done)
    gains, costs, wide = dict[str, float](), dict[str, float](), dict[str, float]()
    if find_policy(about.get("config", {}).get("policy", QuantConfig.policy)).int16_activations:
        able = candidates(quantized.graph, quantized.spec)
        with follow(progress, "measure 16 bits", len(few)) as done:
            divergence, gains = measure_wide_gains(
                quantized.graph, quantized.spec, batches(few, preprocess), able, done
            )
        costs = {name: added_shares(quantized.graph, preprocess.size, (name,)) for name in able}
        wide = {"divergence": divergence}
    named = {key: value for key, value in about.items() if key != "config"}
    facts = {
        **named,
        "pictures": len(few),
        "size": reported(preprocess.size),
        "config": about.get("config", {}),
        **wide,
    }
    return LayerSensitivities(make_rows(entries, work, prices, gains, costs), facts)
