"""What a trained network has to fulfil before it becomes integers; each refusal names the layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.settings.quantspec import QuantSpec
from calib.simulate.exact import ExactNetwork
from calib.weight_scales.int16 import fits_int16
from repghost.errors import UsageError, option
from repghost.graph.operators import Convolution, Graph


def check_convertible(graph: Graph, spec: QuantSpec) -> None:
    """Refuse a network that the integer program could not hold.

    Args:
        graph: from `QatNetwork.convert`.
        spec: of the same.

    Raises:
        UsageError: naming a layer whose accumulator could leave int16 or int32, or whose factors are no float32.
    """
    check_accumulators(graph, spec)
    ExactNetwork(graph, spec)


def check_accumulators(graph: Graph, spec: QuantSpec) -> None:
    """Refuse a network of which a layer that was planned for int16 does not fit it any more.

    Raises:
        UsageError: naming the first such layer.
    """
    for op in graph.operators:
        planned = spec.accumulators.get(op.name)
        if isinstance(op, Convolution) and planned == "int16" and not fits_int16(op, graph, spec):
            raise UsageError(
                f"layer {op.name!r}: after training it does not fit int16 accumulators, most likely because of its "
                f"bias; lower {option('learning_rate')}, or give it int32 ones in the config."
            )


def check_scales(layer: str, scales: NDArray[np.float32]) -> None:
    """Refuse weight scales that are zero, negative, NaN or infinite.

    Raises:
        UsageError: naming the layer and the first such channel.
    """
    wrong = np.flatnonzero(~(np.isfinite(scales) & (scales > 0)))
    if len(wrong):
        raise UsageError(
            f"layer {layer!r}: the weight scale of channel {wrong[0]} is {scales[wrong[0]]!r} after training, and int8 "
            "needs a finite number above 0; take an earlier checkpoint, or train with a lower learning rate for scales."
        )
