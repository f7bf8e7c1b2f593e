"""Accuracies that others published, for the axis of a figure; none of them was measured here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from repghost.network.spec import EVAL_LOGS, WIDTHS

FIGURE = "main figure of the RepGhost repository, as its authors plot it"
CLASSES = 1000  # of ImageNet, on which all of them stand
# The same networks as other libraries call them.
SAME = {
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
}
READ_OFF = "the same figure, read off its pixels to 1 ms; the widths are inferred from the latencies"


@dataclass(frozen=True)
class NetworkFigures:
    """One published network, float32 on ImageNet at 224 pixels.

    Attributes:
        name: as our builds of it are called; timm's name where it is not a RepGhostNet.
        family: networks that differ in width only.
        label: short, for a figure.
        top1: percent.
        phone_ms: the authors' latency on an unnamed ARM phone; threads and precision are not stated.
        source: who says so.
    """

    name: str
    family: str
    label: str
    top1: float
    phone_ms: float | None
    source: str


# The points of the authors' main figure; 1.3x RepGhost is 92.2 ms there and 92.9 ms in the readme.
_OTHERS = (
    NetworkFigures("ghostnet_050", "GhostNet", "0.5x", 66.4, 31.7, FIGURE),
    NetworkFigures("ghostnet_100", "GhostNet", "1.0x", 74.0, 74.5, FIGURE),
    NetworkFigures("ghostnet_130", "GhostNet", "1.3x", 76.2, 117.6, FIGURE),
    NetworkFigures("mobilenetv2_050", "MobileNetV2", "0.5", 65.6, 42.0, READ_OFF),
    NetworkFigures("mobilenetv2_075", "MobileNetV2", "0.75", 70.6, 78.0, READ_OFF),
    NetworkFigures("mobilenetv2_100", "MobileNetV2", "1.0", 73.2, 107.0, READ_OFF),
    NetworkFigures("mobilenetv3_small_075", "MobileNetV3", "small 0.75", 65.4, 26.0, FIGURE),
    NetworkFigures("mobilenetv3_small_100", "MobileNetV3", "small 1.0", 67.4, 31.9, FIGURE),
    NetworkFigures("mobilenetv3_large_075", "MobileNetV3", "large 0.75", 73.3, 72.0, FIGURE),
    NetworkFigures("mobilenetv3_large_100", "MobileNetV3", "large 1.0", 75.2, 95.2, FIGURE),
)


@cache
def published_figures() -> dict[str, NetworkFigures]:
    """Return what is published, by the name of the network."""
    own = [
        NetworkFigures(row.name, "RepGhostNet", f"{row.multiplier:g}x", row.top1, row.latency_ms, EVAL_LOGS)
        for row in WIDTHS
    ]
    return {figures.name: figures for figures in (*own, *_OTHERS)}


def place(model: str) -> tuple[int, str]:
    """Return what networks are sorted by: RepGhostNets from the narrowest to the widest, then all others by name."""
    widths = {row.name: index for index, row in enumerate(WIDTHS)}
    return widths.get(model, len(widths)), model


def short_name(model: str) -> str:
    """Return a network's width where it is one of ours, e.g. "0.5x", else its name."""
    return published_figures()[model].label if place(model)[0] < len(WIDTHS) else model


def full_name(model: str) -> str:
    """Return a network as people call it, e.g. "RepGhostNet 0.5x"; what is none of ours as it is."""
    return f"{published_figures()[model].family} {short_name(model)}" if place(model)[0] < len(WIDTHS) else model
