"""Policies: what a kind of device requires of a quantized network.

Both policies quantize the same tensors. Each tensor has a scale of its own, because operators requantize their results,
but for those that only move numbers: their results keep the scale of what they read (`scale_owners`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calib.integer.qparams import INT8_MAX, INT8_MIN, INT16_MAX, QParams
from calib.settings.quantspec import QuantSpec
from repghost.errors import option, unknown_value
from repghost.graph.operators import INPUT, Classifier, Concat, Graph, Mover, Operator, Resize


def no_float_layers() -> str:
    """Return why a layer cannot be left in float, and what to do instead."""
    return (
        f"an integer program has no float layers, so only {option('policy', 'tensorrt')} can leave layers in float. "
        'Give them finer settings instead, e.g. {"activations": "int16"} or {"depthwise_accumulator": "int32"}, or '
        "train under quantization with `repghost qat`."
    )


@dataclass(frozen=True)
class Policy:
    """What a kind of device requires.

    Attributes:
        name: as the user writes it.
        symmetric: every activation's zero point is 0.
        int16_depthwise: the kernels can accumulate depthwise convolutions in int16, so their weight scales follow
            `calib.weight_scales.planning`.
        int16_activations: the kernels have layers in 16-bit activations by 8-bit weights (`calib.settings.wide`).
        integer_only: every layer has to be int8.
        bias_correction: the default of the setting. Biases are float on TensorRT and cost nothing there; what was
            measured is in docs/quantization.md and docs/jetson.md.
        summary: one line for the user.
    """

    name: str
    symmetric: bool
    int16_depthwise: bool
    int16_activations: bool
    integer_only: bool
    bias_correction: bool | str
    summary: str


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy(
            "cpu",
            symmetric=False,
            int16_depthwise=True,
            int16_activations=True,
            integer_only=True,
            bias_correction="auto",
            summary="affine activations, int16 depthwise accumulators; for `repghost compile`",
        ),
        Policy(
            "tensorrt",
            symmetric=True,
            int16_depthwise=False,
            int16_activations=False,
            integer_only=False,
            bias_correction=True,
            summary="symmetric activations (zero point 0), corrected biases; for TensorRT",
        ),
    )
}


def find_policy(name: str) -> Policy:
    """Return the policy of that name.

    Raises:
        UsageError: when there is none; the message suggests the nearest.
    """
    if not isinstance(name, str) or name not in POLICIES:
        raise unknown_value("policy", name, POLICIES)
    return POLICIES[name]


def quantized_tensors(graph: Graph, stays_float: Callable[[str], bool] | None = None) -> tuple[str, ...]:
    """Return the tensors that are int8: all but the logits and what a convolution hands to the add behind it.

    Args:
        graph: the float network.
        stays_float: says which operators are computed in float. They read tensors as they were before quantization, as
            TensorRT demands, so what only they read stays float.
    """
    inside = graph.fused_adds
    made = [op.name for op in graph.operators if not isinstance(op, Classifier) and op.name not in inside]
    if stays_float is None:
        return INPUT, *made
    wanted = {name for op in graph.operators if not stays_float(op.name) for name in op.inputs} | {*graph.outputs}
    return tuple(name for name in (INPUT, *made) if name in wanted)


def float_parts(graph: Graph, spec: QuantSpec) -> tuple[str, ...]:
    """Return the layers and tensors that would be integers in an integer program and that `spec` leaves in float."""
    layers = {op.name for op in graph.layers()} - set(spec.weight_scales)
    tensors = set(quantized_tensors(graph)) - set(spec.activations)
    return tuple(name for name in graph.names() if name in layers | tensors)


def moves(op: Operator) -> bool:
    """Return whether an operator only moves numbers of one tensor."""
    return isinstance(op, Mover) or (isinstance(op, Resize) and op.mode == "nearest")


def scale_owners(graph: Graph) -> dict[str, str]:
    """Return the tensor whose scale each tensor has that does not have its own.

    What only moves numbers keeps the scale of what it reads. The maps of a concatenation get its scale where nothing
    else reads them; others are requantized for it.
    """
    owners: dict[str, str] = {}
    for op in graph.operators:
        if moves(op):
            owners[op.name] = owners.get(op.inputs[0], op.inputs[0])
    operators = {op.name: op for op in graph.operators}
    for op in reversed(graph.operators):
        if isinstance(op, Concat):
            free = [name for name in op.inputs if graph.readers[name] == 1 and _has_own_scale(operators.get(name))]
            owners |= dict.fromkeys(free, owners.get(op.name, op.name))
    return owners


def _has_own_scale(op: Operator | None) -> bool:
    return op is not None and not moves(op)


def wide_qparams(low: float, high: float, reach: int) -> QParams | None:
    """Return the scale with which int16 covers [low, high], or None for a range without extent.

    Args:
        low: smallest value.
        high: largest value.
        reach: of the tensor (`QParams.reach`).
    """
    scale = np.float32(max(-low, high, 0.0) / min(reach, INT16_MAX))
    if not (np.isfinite(scale) and scale >= np.finfo(np.float32).tiny):
        return None
    return QParams(float(scale), 0, reach)


def qparams_of_range(low: float, high: float, symmetric: bool) -> QParams | None:
    """Return the scale and zero point that cover [low, high] and 0 with int8, or None for a range without extent.

    The real number 0 is always exact, because padding and ReLU need it. A range that starts at 0, as behind a ReLU,
    gets zero point -128 when affine.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    steps = 2 * INT8_MAX if symmetric else INT8_MAX - INT8_MIN
    width = 2 * max(-low, high) if symmetric else high - low
    scale = np.float32(width / steps)
    if not (np.isfinite(scale) and scale >= np.finfo(np.float32).tiny):
        return None
    if symmetric:
        return QParams(float(scale), 0)
    zero_point = int(np.clip(np.rint(INT8_MIN - low / float(scale)), INT8_MIN, INT8_MAX))
    return QParams(float(scale), zero_point)
