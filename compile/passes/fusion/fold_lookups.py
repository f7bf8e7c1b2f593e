"""Any function of one int8 tensor, element by element, becomes a table of its 256 results.

It does not matter how many nodes spell the function, nor how often it is quantized on the way: hard-swish as Add, Clip,
Div and Mul is one table, and so is x * sigmoid(x) with a Q/DQ pair behind each operator. Functions of the image, before
or behind its first Q, become tables of its bytes, one for each colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.functions import EVERY, Attributes, Floats
from calib.integer.functions import FUNCTIONS as STEPS
from calib.integer.qparams import INT8_MAX, INT8_MIN, QParams, dequantize, quantize
from compile.ir.qdq_graph import INPUT_TABLE, LOOKUP_TABLE, REQUANTIZE, SCALE_CHANNELS, Node, QdqGraph
from compile.passes.rules.common import map_sizes
from compile.passes.rules.pools.pool import SPELLINGS


def _scale_image(attributes: Attributes, x: Floats) -> Floats:
    factor, offset = (np.asarray(attributes[key], np.float64)[:, None] for key in ("factor", "offset"))  # [channels, 1]
    return (factor * x.astype(np.float64) + offset).astype(np.float32)


FUNCTIONS = {
    **STEPS,
    REQUANTIZE: lambda attributes, x: x,
    SCALE_CHANNELS: _scale_image,  # of the image alone
}


@dataclass(frozen=True, eq=False)
class _Function:
    """A real tensor that is a function of one int8 tensor or of the bytes of the image."""

    source: str | None  # None: the image
    values: Floats  # for each of the 256 integers [256], or for each byte of each channel [channels, 256]


def fold_lookups(graph: QdqGraph) -> QdqGraph:
    """Replace such nodes by one table where their result is quantized; drop those nobody reads any more.

    Where a function is left in float before an average, its range is known: it gets a scale and a zero point that cover
    it exactly.
    """
    known = {
        name: _identity(name, params)
        for name, params in graph.qparams.items()
        if name not in graph.producers and not params.is_wide
    }
    if graph.input not in graph.qparams:
        known[graph.input] = _Function(None, graph.preprocess.table())
    nodes: list[Node] = []
    tables, qparams = dict(graph.tables), dict(graph.qparams)
    for node in graph.nodes:
        if node.output in qparams and qparams[node.output].is_wide:  # no table holds 16 bits
            nodes.append(node)
            continue
        function = _evaluate(graph, node, known)
        if function is not None and _has_sizes_of(graph, function, node.output):
            if node.output not in qparams and _is_averaged(graph, node.output):
                qparams[node.output] = _covering(function.values)
            if node.output in qparams:
                node = _table_node(node, function.source)
                tables[node.output] = quantize(function.values, qparams[node.output])
                function = replace(function, values=dequantize(tables[node.output], qparams[node.output]))
            known[node.output] = function
        elif node.operator == INPUT_TABLE:
            table = tables.get(node.output, quantize(graph.preprocess.table(), qparams[node.output]))
            known[node.output] = _Function(None, dequantize(table, qparams[node.output]))
        elif node.output in qparams:
            known[node.output] = _identity(node.output, qparams[node.output])
        nodes.append(node)
    return _without_dead_nodes(replace(graph, nodes=tuple(nodes), tables=tables, qparams=qparams))


def _identity(name: str, params: QParams) -> _Function:
    return _Function(name, dequantize(EVERY, params))


def _evaluate(graph: QdqGraph, node: Node, known: dict[str, _Function]) -> _Function | None:
    """Return the node's result for every integer of the one tensor it depends on, or None."""
    compute = FUNCTIONS.get(node.operator)
    sources = {known[name].source for name in node.inputs if name in known}
    if compute is None or len(sources) != 1 or node.residual is not None:
        return None
    (source,) = sources
    if node.operator == SCALE_CHANNELS and source is not None:  # a table for each channel is what no operator has
        return None
    operands: list[NDArray[Any] | None] = []
    for name in node.inputs:
        constant = graph.constants.get(name)
        if name in known:
            operands.append(known[name].values)
        elif not name:
            operands.append(None)
        elif constant is not None and constant.size == 1:
            operands.append(constant.reshape(()).astype(np.float32))
        elif constant is not None and source is None and _is_per_channel(constant, graph.preprocess.channels):
            operands.append(constant.reshape(-1, 1).astype(np.float32))
        else:
            return None
    try:
        with np.errstate(all="ignore"):  # the check below turns overflow and division by zero into a refusal
            values = np.asarray(compute(node.attributes, *operands), np.float32)
    except TypeError:  # another number of operands than the function has
        return None
    return _Function(source, values) if np.isfinite(values).all() else None


def _is_per_channel(constant: NDArray[Any], channels: int) -> bool:
    """Return whether a constant holds one value for each channel of the image [1, channels, H, W]."""
    return constant.size == channels and (1, *constant.shape)[-4:] == (1, channels, 1, 1)


def _has_sizes_of(graph: QdqGraph, function: _Function, output: str) -> bool:
    source = graph.input if function.source is None else function.source
    sizes = map_sizes(graph.shapes[output])
    return sizes is not None and sizes == map_sizes(graph.shapes[source])


def _is_averaged(graph: QdqGraph, tensor: str) -> bool:
    """Return whether averages read a tensor, and besides them only what is a function itself."""
    operators = {node.operator for node in graph.consumers.get(tensor, ())}
    return bool(operators & set(SPELLINGS)) and operators <= {*SPELLINGS, *FUNCTIONS} and tensor not in graph.outputs


def _covering(values: Floats) -> QParams:
    """Return the scale and zero point whose 256 steps reach from the smallest to the largest value, 0 included."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = max((high - low) / (INT8_MAX - INT8_MIN), float(np.finfo(np.float32).tiny))
    return QParams(scale, round(INT8_MIN - low / scale))


def _table_node(node: Node, source: str | None) -> Node:
    if source is None:
        return Node(node.name, INPUT_TABLE, (), node.output)
    return Node(node.name, LOOKUP_TABLE, (source,), node.output)


def _without_dead_nodes(graph: QdqGraph) -> QdqGraph:
    """Drop nodes whose result nobody reads."""
    needed = {*graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            kept.append(node)
            needed.update(node.operands)
    return replace(graph, nodes=tuple(reversed(kept)))
