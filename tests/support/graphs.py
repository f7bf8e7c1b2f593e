"""Graphs written in a line or two, for tests of single passes and rules."""

import numpy as np

from calib.integer.qparams import QParams
from compile.ir.qdq_graph import Node, QdqGraph
from tests.support.qdq_models import preprocess

MAP = (1, 8, 4, 4)
P, Q = QParams(0.1, 3), QParams(0.2, -5)
CONSTANTS = {
    "s": np.float32(0.1), "z": np.int8(3), "s2": np.float32(0.2), "z2": np.int8(-5), "three": np.float32(3),
    "zero": np.float32(0), "six": np.float32(6), "scales": np.float32([0.1, 0.2]),
}  # fmt: skip


def graph(*nodes: Node, **changes: object) -> QdqGraph:
    """Return a graph whose tensors are all maps of one shape, unless `shapes` says otherwise."""
    tensors = {name for node in nodes for name in (*node.operands, node.output)} | {"input"}
    fields: dict = {
        "constants": CONSTANTS | changes.pop("constants", {}),
        "shapes": {name: MAP for name in tensors} | changes.pop("shapes", {}),
        "output": changes.pop("output", nodes[-1].output),
        **changes,
    }
    return QdqGraph(nodes=nodes, input="input", preprocess=preprocess(), digest="", **fields)


def n(operator: str, inputs: str, output: str, **attributes: object) -> Node:
    return Node(output, operator, tuple(inputs.split()), output, attributes)


def q(source: str, output: str, params: str = "s z") -> Node:
    return n("QuantizeLinear", f"{source} {params}", output)


def dq(source: str, output: str, params: str = "s z") -> Node:
    return n("DequantizeLinear", f"{source} {params}", output)


def written(graph: QdqGraph) -> list[str]:
    """Return nodes as text: operator, operands, output."""
    return [f"{node.operator} {' '.join(node.operands)} -> {node.output}" for node in graph.nodes]
