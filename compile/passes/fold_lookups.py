"""Any function of one int8 tensor, element by element, becomes a table of its 256 results.

It does not matter how many nodes spell the function: hard-swish as Add, Clip, Div and Mul is one table, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import INT8_MAX, INT8_MIN, dequantize, quantize
from compile.ir.qdq_graph import LOOKUP_TABLE, REQUANTIZE, Node, QdqGraph

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Function:
    """A real tensor that is a function of one int8 tensor: its value for each of the 256 integers."""

    source: str
    values: Floats


def fold_lookups(graph: QdqGraph) -> QdqGraph:
    """Replace such nodes by one LOOKUP_TABLE node where their result is quantized; drop those nobody reads any more."""
    every = np.arange(INT8_MIN, INT8_MAX + 1).astype(np.int8)
    known = {name: _Function(name, dequantize(every, params)) for name, params in graph.qparams.items()}
    nodes: list[Node] = []
    tables = dict(graph.tables)
    for node in graph.nodes:
        function = _evaluate(graph, node, known)
        if function is not None and graph.shapes[node.output] == graph.shapes[function.source]:
            if node.output in graph.qparams:
                node = Node(node.name, LOOKUP_TABLE, (function.source,), node.output)
                tables[node.output] = quantize(function.values, graph.qparams[node.output])
            else:
                known[node.output] = function
        nodes.append(node)
    return _without_dead_nodes(replace(graph, nodes=tuple(nodes), tables=tables))


def _evaluate(graph: QdqGraph, node: Node, known: dict[str, _Function]) -> _Function | None:
    """Return the node's result for every integer of the one tensor it depends on, or None."""
    compute = FUNCTIONS.get(node.operator)
    sources = {known[name].source for name in node.inputs if name in known}
    if compute is None or len(sources) != 1 or node.residual is not None:
        return None
    operands: list[Floats | None] = []
    for name in node.inputs:
        constant = graph.constants.get(name)
        if name in known:
            operands.append(known[name].values)
        elif not name:
            operands.append(None)
        elif constant is not None and constant.size == 1:
            operands.append(constant.reshape(()).astype(np.float32))
        else:
            return None
    with np.errstate(all="ignore"):  # the check below turns overflow and division by zero into a refusal
        values = np.asarray(compute(node, *operands), np.float32)
    return _Function(sources.pop(), values) if np.isfinite(values).all() else None


def _without_dead_nodes(graph: QdqGraph) -> QdqGraph:
    """Drop nodes whose result nobody reads."""
    needed = {graph.output}
    kept = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            kept.append(node)
            needed.update(node.operands)
    return replace(graph, nodes=tuple(reversed(kept)))


def _clip(node: Node, x: Floats, low: Floats | None = None, high: Floats | None = None) -> Floats:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _hard_sigmoid(node: Node, x: Floats) -> Floats:
    alpha, beta = (np.float32(node.attributes.get(key, default)) for key, default in (("alpha", 0.2), ("beta", 0.5)))
    return np.clip(alpha * x + beta, np.float32(0), np.float32(1))


def _sigmoid(node: Node, x: Floats) -> Floats:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)


# Each in float32 and in ONNX's order of operations; those with an exponential in float64, rounded once.
FUNCTIONS: dict[str, Callable[..., Floats]] = {
    "Identity": lambda node, x: x,
    REQUANTIZE: lambda node, x: x,
    "Relu": lambda node, x: np.maximum(x, np.float32(0)),
    "LeakyRelu": lambda node, x: np.where(x < 0, np.float32(node.attributes.get("alpha", 0.01)) * x, x),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node, x: x * np.clip(x * np.float32(1 / 6) + np.float32(0.5), np.float32(0), np.float32(1)),
    "Sigmoid": _sigmoid,
    "Tanh": lambda node, x: np.tanh(x.astype(np.float64)).astype(np.float32),
    "Neg": lambda node, x: -x,
    "Abs": lambda node, x: np.abs(x),
    "Add": lambda node, a, b: a + b,
    "Sub": lambda node, a, b: a - b,
    "Mul": lambda node, a, b: a * b,
    "Div": lambda node, a, b: a / b,
}
