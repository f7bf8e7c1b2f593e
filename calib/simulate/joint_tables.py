"""Operators of several tensors that are functions of one: x * f(x), x + x.

The program computes them as it computes any function of one int8 tensor, by a table of the 256 results: real numbers
are rounded once, not for each operator. `compile.passes.fusion.fold_lookups` finds them in a file, and this here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.integer.functions import EVERY, FUNCTIONS, table_of
from calib.integer.qparams import QParams, dequantize, quantize
from repghost.graph.operators import Add, ChannelSlopes, Function, Graph, Multiply, Operator, Subtract

BINARY = {Add: "Add", Subtract: "Sub", Multiply: "Mul"}


@dataclass(frozen=True, eq=False)
class Table:
    """y = table[x + 128], in the place of an operator."""

    name: str
    input: str
    table: NDArray[np.int8]  # [256]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one tensor that it reads."""
        return (self.input,)


@dataclass(frozen=True, eq=False)
class _Known:
    """The real values of an int8 tensor for each integer of the tensor that it is a function of."""

    source: str
    values: NDArray[np.float32]  # [256]


def with_tables(graph: Graph, qparams: Mapping[str, QParams]) -> Graph:
    """Return the graph with a `Table` for every operator of several tensors that are functions of one.

    Args:
        graph: the network.
        qparams: scale and zero point of each int8 tensor.
    """
    known = {name: _Known(name, dequantize(EVERY, q)) for name, q in qparams.items() if not q.is_wide}
    operators: list[Operator | Table] = []
    for op in graph.operators:
        table = _table(op, known, qparams)
        if table is not None:
            source = known[op.inputs[0]].source
            known[op.name] = _Known(source, dequantize(table, qparams[op.name]))
            op = op if isinstance(op, Function) else Table(op.name, source, table)  # type: ignore[assignment]
        operators.append(op)
    return replace(graph, operators=tuple(operators))  # type: ignore[arg-type]


def _table(op: Operator, known: Mapping[str, _Known], qparams: Mapping[str, QParams]) -> NDArray[np.int8] | None:
    """Return what an operator makes of each integer of the one tensor that it depends on; None where of several."""
    if op.name not in qparams or qparams[op.name].is_wide or any(name not in known for name in op.inputs):
        return None
    if len({known[name].source for name in op.inputs}) > 1:
        return None
    operands = [known[name].values for name in op.inputs]
    match op:
        case Function():
            table = table_of(op.steps, qparams[op.input], qparams[op.name])
            return table[quantize(operands[0], qparams[op.input]).astype(int) + 128]
        case Add() | Subtract() | Multiply():
            with np.errstate(all="ignore"):
                values = FUNCTIONS[BINARY[type(op)]]({}, *operands)
            return quantize(FUNCTIONS["Clip"]({}, values, *np.asarray(op.clamp, np.float32)), qparams[op.name])
        case ChannelSlopes() if len(op.slopes) == 1:
            return quantize(FUNCTIONS["PRelu"]({}, operands[0], op.slopes[0]), qparams[op.name])
    return None
