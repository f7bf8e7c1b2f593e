"""A last Softmax is left to whoever reads the scores: the runner makes probabilities of them."""

from __future__ import annotations

from dataclasses import replace

from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE, QdqGraph

PROBABILITIES = ("Softmax", "LogSoftmax")  # a Softmax behind either gives the probabilities of the scores
BEHIND = (QUANTIZE, DEQUANTIZE, "Identity")


def drop_softmax(graph: QdqGraph) -> QdqGraph:
    """Make what a last Softmax over the classes reads the output; what quantizes probabilities goes with it."""
    if graph.other_outputs:
        return graph
    behind = set[str]()
    node = graph.producers.get(graph.output)
    while node is not None and node.operator in BEHIND and len(graph.consumers.get(node.output, ())) < 2:
        behind.add(node.output)
        node = graph.producers.get(node.inputs[0])
    if node is None or node.operator not in PROBABILITIES or len(graph.shapes[node.output]) != 2:
        return graph
    source, readers = node.inputs[0], graph.consumers.get(node.output, ())
    alone = len(readers) < 2 and graph.only_consumer(source) is node
    if node.attributes.get("axis", -1) not in (1, -1) or source not in graph.producers or not alone:
        return graph
    kept = tuple(other for other in graph.nodes if other.output not in {*behind, node.output})
    return replace(graph, nodes=kept, output=source)
