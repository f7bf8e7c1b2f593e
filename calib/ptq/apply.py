"""Calibration of a graph: from images to the scales of every tensor, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.observers import TensorStatistics
from calib.ptq.adaround import learn_rounding
from calib.ptq.auto_bias_correction import correct_where_nearer, images_used
from calib.ptq.bias_correction import MOST_PIXELS, correct_biases
from calib.ptq.blocks import numbers_of
from calib.ptq.calibrate import choose_spec, collect_statistics
from calib.ptq.choose_observers import choose_observers
from calib.ptq.equalize import equalize
from calib.settings.config import AUTO, QuantConfig
from calib.settings.describe import describe_observer
from calib.settings.policy import find_policy, no_float_layers
from calib.settings.quantspec import QuantSpec
from calib.settings.wide import chosen_layers, widened
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, option
from repghost.graph.operators import Graph
from repghost.graph.shapes import shapes_of
from repghost.graph.threads import single_threaded

BATCH_PIXELS = 1 << 18  # keeps the activations of a batch within some tens of megabytes
PREDICTION_PIXELS = 1 << 20  # of the images whose predictions choose ranges: some seconds on one core for 0.5x
# Each of so many tensors is changed, and what follows is computed again: operators times numbers of one image.
PREDICTION_WORK = 24 << 30
FEWEST_PREDICTIONS = 4


@single_threaded()
def quantize_graph(
    graph: Graph,
    images: NDArray[np.uint8],
    preprocess: Preprocess,
    config: QuantConfig,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[Graph, QuantSpec]:
    """Return the graph as it will be quantized, and its scales (arguments and errors as `quantize_network`)."""
    check_channels(graph, preprocess)
    config.check_patterns(graph.names())
    check_float_layers(graph, config)
    chosen_layers(graph, config)  # refused before the images are read
    if config.equalize:
        graph = equalize(graph, batches(images, preprocess))
    statistics = collect_statistics(graph, batches(images, preprocess), on_batch)
    graph = widened(graph, config)
    spec = choose_ranges(graph, statistics, images, preprocess, config)
    return correct(graph, spec, images, preprocess, config)


def choose_ranges(
    graph: Graph,
    statistics: dict[str, TensorStatistics],
    images: NDArray[np.uint8],
    preprocess: Preprocess,
    config: QuantConfig,
) -> QuantSpec:
    """Return the scales by the config's observers, or by those of `choose_observers` where the config asks for them."""
    if graph.results and config.ranges_by_answers:  # which compares predictions, and several results are none
        spec = choose_spec(graph, statistics, config)
        return replace(spec, notes=(*spec.notes, f"several results: every range is by {config.defaults.observer}"))
    if not config.ranges_by_answers:
        return choose_spec(graph, statistics, config)
    few = images[: _predicted(graph, preprocess)]
    chosen = choose_observers(graph, statistics, list(batches(few, preprocess)), config)
    added = chosen.layers[len(config.layers) :]
    observers = {name: describe_observer(chosen.settings(name)) for name, _ in added}
    return replace(choose_spec(graph, statistics, chosen), observers=observers)


def _predicted(graph: Graph, preprocess: Preprocess) -> int:
    """Return of how many images the predictions choose ranges: fewer for networks of many or large tensors."""
    work = len(graph.operators) * numbers_of(graph.operators, shapes_of(graph, (preprocess.height, preprocess.width)))
    return max(1, min(PREDICTION_PIXELS // preprocess.pixels, max(FEWEST_PREDICTIONS, PREDICTION_WORK // work)))


def check_channels(graph: Graph, preprocess: Preprocess) -> None:
    """Refuse images of other channels than the network takes.

    Raises:
        UsageError: naming both.
    """
    if graph.channels != preprocess.channels:
        raise UsageError(
            f"the network takes {graph.channels} colours, the pictures have {preprocess.channels}; give "
            f"{option('preprocess', 'FILE')} whose mean and std have as many numbers: three for RGB pictures, one for "
            "grey ones, and one more where pictures have another band."
        )


def check_float_layers(graph: Graph, config: QuantConfig) -> None:
    """Refuse layers that stay float where everything has to be an integer.

    Raises:
        UsageError: naming the first of them.
    """
    kept = [name for name in graph.names() if config.stays_float(name)]
    if kept and find_policy(config.policy).integer_only:
        raise UsageError(f"{', '.join(kept[:3])}: {no_float_layers()}")


def correct(
    graph: Graph, spec: QuantSpec, images: NDArray[np.uint8], preprocess: Preprocess, config: QuantConfig
) -> tuple[Graph, QuantSpec]:
    """Return the graph with the biases and weights that the config wants changed, and the scales with a note of it."""

    def normalized(count: int) -> NDArray[np.float32]:
        return preprocess.normalize(images[:count])

    few = max(2, MOST_PIXELS // preprocess.pixels)
    if config.bias_correction == AUTO and graph.results:
        pass  # "auto" compares predictions, and several results are none
    elif config.bias_correction == AUTO:
        graph, note = correct_where_nearer(graph, spec, normalized(images_used(preprocess.pixels)))
        spec = replace(spec, notes=(*spec.notes, note)) if note else spec
    elif config.bias_correction:
        graph = correct_biases(graph, spec, normalized(few))
    return (learn_rounding(graph, spec, normalized(few)) if config.learned_rounding else graph), spec


def batches(images: NDArray[np.uint8], preprocess: Preprocess) -> Iterator[NDArray[np.float32]]:
    """Yield images [N, H, W, channels] as normalized float32 [n, channels, H, W], a bounded amount at a time."""
    step = max(1, BATCH_PIXELS // preprocess.pixels)
    for start in range(0, len(images), step):
        yield preprocess.normalize(images[start : start + step])
