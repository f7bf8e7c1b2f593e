"""What each layer of a network costs and how it is computed, as rows that can be printed, saved and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from calib.integer.program import Conv2d, Operator
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.plan import LoweredNode
from compile.passes.rules import Refusal

if TYPE_CHECKING:
    from compile.ir.memory_plan import AnyOperator, AnyProgram

UNKNOWN_KERNEL = "-"
FLOAT = "float"  # arithmetic that begins with this is not integer


@dataclass(frozen=True)
class Layer:
    """One row: an operator of the integer program, or a node that cannot become one.

    Attributes:
        operator: the class in `calib.integer.program`, or the ONNX operator of a refused node.
        input: shape (height, width, channels) of what it reads.
        output: shape (height, width, channels) of what it writes.
        macs: multiply-adds for one image.
        weight_bytes: int8 weights and int32 biases; 256 for each table.
        arithmetic: the accumulator, or "table"; "float" where integers are not possible, "float32" in an fp32 build.
        reason: why not, or "".
        kernel: the compiled kernel, "-" before there is one.
        note: what the layer costs beyond what its node needs, or "".
    """

    name: str
    operator: str
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    macs: int
    weight_bytes: int
    arithmetic: str
    reason: str = ""
    kernel: str = UNKNOWN_KERNEL
    note: str = ""

    @property
    def is_float(self) -> bool:
        """Whether the layer is not computed in integers."""
        return self.arithmetic.startswith(FLOAT)


def layers(graph: QdqGraph, lowered: Sequence[LoweredNode], kernels: Sequence[str] = ()) -> tuple[Layer, ...]:
    """Return one row for each node of a plan.

    Args:
        graph: the graph the plan was made for, which knows the shapes of refused nodes.
        lowered: from `compile.passes.explain`.
        kernels: one description per node, as `CompiledNetwork.kernels` has them; none before compilation.
    """
    names = kernels or [UNKNOWN_KERNEL] * len(lowered)
    return tuple(_layer(graph, item, kernel) for item, kernel in zip(lowered, names, strict=True))


def _layer(graph: QdqGraph, item: LoweredNode, kernel: str) -> Layer:
    operator = item.result
    if isinstance(operator, Refusal):
        node = item.node
        output = _channels_last(graph.shapes[node.output])
        source = _channels_last(graph.shapes[node.operands[0]]) if node.operands else output
        return Layer(
            name=node.name,
            operator=node.operator,
            input=source,
            output=output,
            macs=0,
            weight_bytes=0,
            arithmetic=FLOAT,
            reason=operator.reason,
            kernel=kernel,
        )
    return replace(_operator_layer(operator, kernel), note=_note(item.node, operator))


def _note(node: Node, operator: Operator) -> str:
    """Return a sentence about the zeros between the groups of a dense kernel, or ""."""
    groups = node.attributes.get("group", 1) if node.operator == "Conv" and isinstance(operator, Conv2d) else 1
    if groups == 1:
        return ""
    return f"one kernel with zeros between {groups} groups: {groups} times the multiply-adds they need"


def _operator_layer(operator: AnyOperator, kernel: str = UNKNOWN_KERNEL) -> Layer:
    output = operator.output.shape
    return Layer(
        name=operator.name,
        operator=type(operator).__name__,
        input=operator.inputs[0].shape if operator.inputs else output,
        output=output,
        macs=operator.macs,
        weight_bytes=sum(array.nbytes for array in operator.weights),
        arithmetic=operator.arithmetic,
        kernel=kernel,
    )


def manifest_layers(program: AnyProgram, kernels: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return the rows of a compiled program as JSON values for the manifest of its bundle, `bundle_layers` reads them.

    Args:
        program: what was compiled.
        kernels: by instruction set, the kernel of each operator.
    """
    rows = []
    for index, operator in enumerate(program.operators):
        row = asdict(_operator_layer(operator))
        del row["reason"], row["kernel"], row["note"]
        # A compiler that runs several operators as one step has no kernel per operator to name.
        of_row = {isa: list(names)[index] for isa, names in kernels.items() if len(names) == len(program.operators)}
        rows.append({**row, "input": list(row["input"]), "output": list(row["output"]), "kernels": of_row})
    return rows


def _channels_last(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (height, width, channels) of an NCHW shape; a missing size is 1."""
    channels, height, width = (*shape[1:], 1, 1, 1)[:3]
    return height, width, channels


def format_table(rows: Sequence[Layer]) -> str:
    """Return the rows as aligned text with a line of totals, and what is to be said of a layer below it."""
    header = ("layer", "operator", "input", "output", "MACs", "bytes", "arithmetic", "kernel")
    cells = [
        (row.name, row.operator, _text(row.input), _text(row.output), f"{row.macs:,}", f"{row.weight_bytes:,}",
         row.arithmetic, row.kernel)
        for row in rows
    ]  # fmt: skip
    total = ("total", f"{len(rows)} layers", "", "", f"{sum(row.macs for row in rows):,}",
             f"{sum(row.weight_bytes for row in rows):,}", _refused(rows), "")  # fmt: skip
    widths = [max(len(line[column]) for line in (header, *cells, total)) for column in range(len(header))]
    lines = [_line(header, widths)]
    for row, line in zip(rows, cells, strict=True):
        lines.append(_line(line, widths))
        if row.reason or row.note:
            lines.append(f"    {row.reason or row.note}")
    return "\n".join([*lines, _line(total, widths)])


def _refused(rows: Sequence[Layer]) -> str:
    count = sum(row.is_float for row in rows)
    return f"{count} in float" if count else "all integer"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return one line; MACs and bytes are numbers and stand on the right."""
    numbers = (4, 5)
    padded = (
        cell.rjust(width) if index in numbers else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
