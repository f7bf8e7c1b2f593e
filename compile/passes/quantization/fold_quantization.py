"""QuantizeLinear and DequantizeLinear leave the graph; the tensors themselves become int8."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from calib.integer.qparams import INT16_MAX, WIDEST, QParams
from compile.ir.qdq_graph import DEQUANTIZE, DEQUANTIZE_SCORES, INPUT_TABLE, QUANTIZE, REQUANTIZE, Node, QdqGraph
from compile.passes.fusion.fold_views import VIEWS
from compile.passes.fusion.fuse_activation import interval_of
from compile.passes.quantization.keep_scales import MOVERS
from compile.passes.rename import rename_inputs


def fold_quantization(graph: QdqGraph) -> QdqGraph:
    """Make the tensor before every Q node int8, and let the readers of the DQ nodes behind it read that tensor.

    The int8 tensor keeps the name of the real one. Left in place, for `check_covered` to name: a Q with several scales,
    or whose output is read by anything but DQ nodes, and a DQ with another scale than its Q. A Q whose input is used in
    float, too, becomes REQUANTIZE. A DQ that is the output of the network becomes DEQUANTIZE_SCORES.
    """
    return _drop_copies(_drop_dequantize(_drop_quantize(graph)))


def _drop_quantize(graph: QdqGraph) -> QdqGraph:
    qparams, names, nodes = dict(graph.qparams), dict[str, str](), list[Node]()
    limits: dict[str, float] = {}  # the largest real number, by what a Q node writes
    for node in graph.nodes:
        readers = graph.consumers.get(node.output, ())
        several = node.operator == QUANTIZE and graph.constants[node.inputs[1]].size > 1
        if node.operator != QUANTIZE or several or any(reader.operator != DEQUANTIZE for reader in readers):
            nodes.append(node)
            continue
        source, params = node.inputs[0], _params(graph, node)
        if params.is_wide:
            params = replace(params, reach=_reach(_limit(graph, node.inputs[0], limits), params.scale))
            limits[node.output] = params.high * params.scale
        producer = graph.producers.get(source)
        if producer is not None and producer.operator == DEQUANTIZE:
            nodes.append(Node(node.name, REQUANTIZE, (source,), node.output))
            qparams[node.output] = params
        elif graph.only_consumer(source) is node:
            names[node.output] = source
            qparams[source] = params
            if source == graph.input:
                nodes.append(Node(node.name, INPUT_TABLE, (), source))
        else:
            # The real numbers are used elsewhere too, so they stay; a function of an int8 tensor can be both.
            nodes.append(Node(node.name, REQUANTIZE, (source,), node.output))
            qparams[node.output] = params
    return replace(graph, nodes=rename_inputs(nodes, names), qparams=qparams)


def _params(graph: QdqGraph, node: Node) -> QParams:
    """Return what a Q node says of its tensor, or a DQ node of what it reads; how far int16 reaches, neither says."""
    scale = float(graph.constants[node.inputs[1]].reshape(-1)[0])
    zero_point = graph.constants[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    if zero_point is not None and zero_point.dtype == np.int16:
        return QParams(scale, 0, WIDEST)
    return QParams(scale, 0 if zero_point is None else int(zero_point.reshape(-1)[0]))


def _limit(graph: QdqGraph, tensor: str, known: Mapping[str, float]) -> float:
    """Return the largest magnitude of a real tensor: a Clip to both sides alike says it, also before moves."""
    node = graph.producers.get(tensor)
    if node is None:
        return math.inf
    if node.operator == DEQUANTIZE:
        return known.get(node.inputs[0], math.inf)
    if node.operator in (*MOVERS, *VIEWS, "Transpose"):
        maps = node.inputs[: MOVERS.get(node.operator, 1)]
        return max(_limit(graph, name, known) for name in maps)
    interval = interval_of(graph, node)
    return interval[1] if interval is not None and -interval[0] == interval[1] else math.inf


def _reach(limit: float, scale: float) -> int:
    return WIDEST if limit >= INT16_MAX * scale else max(1, round(limit / scale))


def _at_most_widest(params: QParams) -> QParams:
    return replace(params, reach=WIDEST) if params.is_wide else params


def _drop_dequantize(graph: QdqGraph) -> QdqGraph:
    """Let the readers of each DQ node read its int8 input, where both agree on the scale."""
    names = {
        node.output: node.inputs[0]
        for node in graph.nodes
        if node.operator == DEQUANTIZE
        and node.inputs[0] in graph.qparams
        and graph.constants[node.inputs[1]].size == 1
        and _at_most_widest(graph.qparams[node.inputs[0]]) == _params(graph, node)
    }
    scores = {name: names.pop(name) for name in graph.outputs if name in names}
    kept = [
        Node(node.name, DEQUANTIZE_SCORES, (scores[node.output],), node.output) if node.output in scores else node
        for node in graph.nodes
        if node.output not in names
    ]
    return replace(graph, nodes=rename_inputs(kept, names))


def _drop_copies(graph: QdqGraph) -> QdqGraph:
    """Drop what quantizes an int8 tensor to the scale it has: the same integers under another name."""
    names = {
        node.output: node.inputs[0]
        for node in graph.nodes
        if node.operator == REQUANTIZE and graph.qparams.get(node.inputs[0]) == graph.qparams[node.output]
    }
    kept = [node for node in graph.nodes if node.output not in names]
    return replace(graph, nodes=rename_inputs(kept, names))
