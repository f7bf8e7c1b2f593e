"""What an importer gives: the graph of a float network and what its file says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from repghost.graph.operators import Graph, Pair


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A float network from outside.

    Attributes:
        graph: its operators.
        size: height and width of the images, in pixels.
        channels: of the images.
        classes: how many scores it gives.
        labels: the names of the classes, None when the file does not say.
        metadata: the texts that the file holds beside the network, by key.
        notes: what the user should know of what was changed, one sentence each.
        results: the names of several results, as the file has them; () of scores of classes.
        scales: symmetric ones of 8 bits by tensor of the graph, where the file was quantized.
    """

    graph: Graph
    size: Pair
    channels: int
    classes: int
    labels: tuple[str, ...] | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    scales: Mapping[str, float] = field(default_factory=dict)
