"""Layers in 16-bit activations by 8-bit weights: which of them can be, and the graph that it takes.

A layer that is chosen reads its tensors in int16. So whoever makes these writes int16, and what only moved the numbers
in between moves int16; the other readers of such a tensor read a copy of 8 bits (`Narrow`). The result of a layer is
int16 where a chosen layer reads it, and int8 otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from calib.settings.config import QuantConfig
from calib.settings.policy import find_policy, moves
from repghost.errors import UsageError, option
from repghost.graph.operators import (
    INPUT,
    Add,
    AveragePool,
    Classifier,
    Concat,
    Convolution,
    GlobalAveragePool,
    Graph,
    Multiply,
    Narrow,
    Operator,
    Subtract,
)

FORMS = (Convolution, Classifier, Add, Subtract, GlobalAveragePool, AveragePool)  # what can be chosen
WIDE, COPY = "int16", ".int8"


def widened(graph: Graph, config: QuantConfig) -> Graph:
    """Return the graph with a copy of 8 bits wherever a layer that is not chosen reads a tensor of 16.

    Raises:
        UsageError: for a policy without such layers, or an operator that is chosen by its name and has no form for 16
            bits.
    """
    chosen = chosen_layers(graph, config)
    if not chosen:
        return graph
    wide, reads_wide = _spread(graph, chosen)
    operators: list[Operator] = []
    copies: dict[str, str] = {}
    for op in graph.operators:
        operators.append(_renamed(op, copies) if copies.keys() & {*op.inputs} and op.name not in reads_wide else op)
        narrow = [other for other in graph.operators if op.name in other.inputs and other.name not in reads_wide]
        if op.name in wide and narrow:
            copies[op.name] = op.name + COPY
            operators.append(Narrow(copies[op.name], op.name))
    return replace(graph, operators=tuple(operators))


def chosen_layers(graph: Graph, config: QuantConfig) -> tuple[str, ...]:
    """Return the layers that read int16 by the config: those named, and of those that a pattern matches which can.

    Raises:
        UsageError: see `widened`.
    """
    wanted = [op for op in graph.operators if config.settings(op.name).activations == WIDE]
    if not wanted:
        return ()
    if not find_policy(config.policy).int16_activations:
        raise UsageError(
            f"{wanted[0].name}: activations int16 are for the CPU policy alone; TensorRT computes in int8 or float16. "
            f"With {option('policy', 'tensorrt')} leave a sensitive layer in float: "
            '{"layers": {"NAME": null}}.'
        )
    operators = {op.name: op for op in graph.operators}
    named = {pattern for pattern, changes in config.layers if changes and dict(changes).get("activations") == WIDE}
    found = []
    for op in wanted:
        reason = obstacle(graph, op, operators)
        if reason is None:
            found.append(op.name)
        elif op.name in named:
            raise UsageError(f"{op.name} cannot read 16 bits: {reason}.")
    if not found:
        reason = obstacle(graph, wanted[0], operators)
        raise UsageError(f"no layer that is to read 16 bits can: {wanted[0].name} cannot, {reason}.")
    return tuple(found)


def obstacle(graph: Graph, op: Operator, operators: Mapping[str, Operator]) -> str | None:
    """Return why an operator cannot read 16 bits, None where it can.

    Args:
        graph: the network.
        op: one of its operators.
        operators: all of them by name.
    """
    if moves(op) or isinstance(op, Concat):
        return "it only moves numbers, and does so in 16 bits where what reads them does; choose that layer"
    if not isinstance(op, FORMS):
        return (
            f"{type(op).__name__} has no form for 16 bits, as what is computed by a table of 256 or gates a map; "
            f"convolutions, the classifier, sums, differences and averages have one"
        )
    read = [name for name in op.inputs if name not in graph.fused_adds]
    return next((reason for name in read if (reason := _source_obstacle(name, operators))), None)


def _source_obstacle(tensor: str, operators: Mapping[str, Operator]) -> str | None:
    """Return why a tensor cannot be int16."""
    if tensor == INPUT:
        return "it reads the picture, whose numbers are bytes"
    maker = operators[tensor]
    if moves(maker) or isinstance(maker, Concat):
        return next((reason for name in maker.inputs if (reason := _source_obstacle(name, operators))), None)
    if isinstance(maker, FORMS):
        return None
    return f"it reads the result of {tensor} ({type(maker).__name__}), which is computed in 8 bits"


def _spread(graph: Graph, chosen: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the tensors that are int16, and the operators that read them so: the chosen ones, and moves before them.

    What a convolution hands to the add that it computes itself is no tensor.
    """
    wide, reads = set[str](), set(chosen)
    for op in reversed(graph.operators):
        if op.name in wide and (moves(op) or isinstance(op, Concat)):
            reads.add(op.name)
        if op.name in reads:
            wide.update(name for name in op.inputs if name not in graph.fused_adds)
    return frozenset(wide), frozenset(reads)


def wide_tensors(graph: Graph, config: QuantConfig) -> frozenset[str]:
    """Return the tensors of a graph of `widened` that are int16."""
    chosen = chosen_layers(graph, config)
    return _spread(graph, chosen)[0]


def _renamed(op: Operator, names: Mapping[str, str]) -> Operator:
    """Return an operator that reads other tensors."""
    if isinstance(op, Concat):
        return replace(op, inputs=tuple(names.get(name, name) for name in op.inputs))
    if isinstance(op, Add | Subtract | Multiply):
        return replace(op, input=names.get(op.input, op.input), other=names.get(op.other, op.other))
    return replace(op, input=names.get(op.input, op.input))
