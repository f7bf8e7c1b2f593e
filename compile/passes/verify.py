"""The structural rules every graph obeys between two passes; a violation is a mistake in a pass, not in a file."""

from __future__ import annotations

from compile.ir.qdq_graph import LOOKUP_TABLE, QdqGraph


class BrokenGraphError(AssertionError):
    """A pass left a graph that breaks a structural rule."""


def verify(graph: QdqGraph, after: str) -> None:
    """Check that the graph is well formed.

    Args:
        graph: any graph.
        after: the pass that made it, for the message.

    Raises:
        BrokenGraphError: when a tensor is read before it is written, written twice, or its shape or table is missing.
    """
    known = {*graph.constants, *graph.weights}
    if graph.input not in graph.qparams:
        known.add(graph.input)  # still the real image; once quantized, INPUT_TABLE writes it
    names: set[str] = set()
    for node in graph.nodes:
        missing = [name for name in node.operands if name not in known]
        if missing:
            raise BrokenGraphError(f"after {after}: {node.name!r} reads {missing} before anything writes them")
        if node.output in known or node.name in names:
            raise BrokenGraphError(f"after {after}: {node.name!r} or its output {node.output!r} exists twice")
        if node.output not in graph.shapes:
            raise BrokenGraphError(f"after {after}: the shape of {node.output!r} is unknown")
        if node.residual is not None and node.residual not in graph.qparams:
            raise BrokenGraphError(f"after {after}: the residual {node.residual!r} of {node.name!r} is not int8")
        if node.operator == LOOKUP_TABLE and node.output not in graph.tables:
            raise BrokenGraphError(f"after {after}: {node.name!r} has no table")
        known.add(node.output)
        names.add(node.name)
    for output in graph.outputs:
        if output not in known:
            raise BrokenGraphError(f"after {after}: nothing writes the output {output!r}")
