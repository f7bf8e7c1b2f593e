"""A MatMul with a constant matrix is the fully connected layer that Gemm is without a bias."""

from __future__ import annotations

from dataclasses import replace

from compile.ir.qdq_graph import QdqGraph


def matmul_to_gemm(graph: QdqGraph) -> QdqGraph:
    """Rename such nodes; a bias that is added behind them is left to `fold_channel_constants`."""
    nodes = tuple(
        replace(node, operator="Gemm")
        if node.operator == "MatMul"
        and node.inputs[1] in graph.weights
        and all(len(graph.shapes[name]) == 2 for name in (*node.inputs, node.output))
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)
