"""What each layer of a network costs and how it is computed, as rows that can be printed, saved and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from calib.integer.program import (
    Add,
    Concat,
    Conv2d,
    Crop,
    DepthwiseConv2d,
    Dequantize,
    Epilogue,
    InputTable,
    Lookup,
    MaxPool,
    Multiply,
    Operator,
    Requantize,
    RequantizeAdd,
    RequantizeQ15,
    RequantizeQ15Add,
    Tensor,
    ToLogits,
)
from compile.ir.qdq_graph import QdqGraph
from compile.passes.plan import Step
from compile.passes.rules import Refusal

if TYPE_CHECKING:
    from compile.ir.float_program import FloatOperator, FloatTensor
    from compile.ir.memory_plan import AnyProgram

# How an accumulator is kept and what happens to it, by epilogue.
ARITHMETIC: dict[type[Epilogue | None], str] = {
    Requantize: "int32",
    RequantizeAdd: "int32 + residual",
    RequantizeQ15: "int16",
    RequantizeQ15Add: "int16 + residual",
    ToLogits: "int32, float scores",
}
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

    @property
    def is_float(self) -> bool:
        """Whether the layer is not computed in integers."""
        return self.arithmetic.startswith(FLOAT)


def layers(graph: QdqGraph, steps: Sequence[Step], kernels: Sequence[str] = ()) -> tuple[Layer, ...]:
    """Return one row for each step of a plan.

    Args:
        graph: the graph the plan was made for, which knows the shapes of refused nodes.
        steps: from `compile.passes.explain`.
        kernels: one description per step, as `CompiledNetwork.kernels` has them; none before compilation.
    """
    names = kernels or [UNKNOWN_KERNEL] * len(steps)
    return tuple(_layer(graph, step, kernel) for step, kernel in zip(steps, names, strict=True))


def _layer(graph: QdqGraph, step: Step, kernel: str) -> Layer:
    operator = step.result
    if isinstance(operator, Refusal):
        node = step.node
        output = _channels_last(graph.shapes[node.output])
        source = _channels_last(graph.shapes[node.operands[0]]) if node.operands else output
        return Layer(node.name, node.operator, source, output, 0, 0, FLOAT, operator.reason, kernel)
    return _integer_layer(operator, kernel)


def _integer_layer(operator: Operator, kernel: str = UNKNOWN_KERNEL) -> Layer:
    output = _shape(operator.output)
    source = output if isinstance(operator, InputTable) else _shape(operator.input)
    kind = type(operator).__name__
    return Layer(
        operator.name, kind, source, output, macs(operator), weight_bytes(operator), _arithmetic(operator), "", kernel
    )


def _float_layer(operator: FloatOperator) -> Layer:
    output = _shape(operator.output)
    source = _shape(operator.inputs[0]) if operator.inputs else output
    weight, bias, tables = (getattr(operator, name, None) for name in ("weight", "bias", "tables"))
    return Layer(
        name=operator.name,
        operator=type(operator).__name__,
        input=source,
        output=output,
        macs=0 if weight is None else output[0] * output[1] * weight.size,
        weight_bytes=sum(array.nbytes for array in (weight, bias, tables) if array is not None),
        arithmetic=operator.output.element,
    )


def manifest_layers(program: AnyProgram, kernels: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return the rows of a compiled program as JSON values for the manifest of its bundle, `bundle_layers` reads them.

    Args:
        program: what was compiled.
        kernels: by instruction set, the kernel of each operator.
    """
    rows = []
    for index, operator in enumerate(program.operators):
        row = asdict(_integer_layer(operator) if isinstance(operator, Operator) else _float_layer(operator))
        del row["reason"], row["kernel"]
        # A compiler that runs several operators as one step has no kernel per operator to name.
        of_row = {name: list(steps)[index] for name, steps in kernels.items() if len(steps) == len(program.operators)}
        rows.append({**row, "input": list(row["input"]), "output": list(row["output"]), "kernels": of_row})
    return rows


def macs(operator: Operator) -> int:
    """Return the multiply-adds of the convolution or linear layer for one image; 0 for everything else."""
    if not isinstance(operator, Conv2d | DepthwiseConv2d):
        return 0
    return operator.output.height * operator.output.width * operator.weight.size


def weight_bytes(operator: Operator) -> int:
    """Return the bytes of weights, biases and tables; multipliers and offsets are not counted."""
    match operator:
        case Conv2d() | DepthwiseConv2d():
            return operator.weight.nbytes + operator.bias.nbytes
        case InputTable():
            return operator.tables.nbytes
        case Lookup():
            return operator.table.nbytes
    return 0


def _arithmetic(operator: Operator) -> str:
    match operator:
        case InputTable() | Lookup():
            return "table"
        case MaxPool() | Concat() | Crop():
            return "int8"
        case Dequantize():
            return "int8, float scores"
        case Add() | Multiply():
            return "int32"
    return ARITHMETIC.get(type(getattr(operator, "epilogue", None)), "int8")  # without one, values are only moved


def _shape(tensor: Tensor | FloatTensor) -> tuple[int, int, int]:
    return tensor.height, tensor.width, tensor.channels


def _channels_last(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (height, width, channels) of an NCHW shape; a missing size is 1."""
    channels, height, width = (*shape[1:], 1, 1, 1)[:3]
    return height, width, channels


def format_table(rows: Sequence[Layer]) -> str:
    """Return the rows as aligned text with a line of totals and the reason below each refused layer."""
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
        if row.reason:
            lines.append(f"    {row.reason}")
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
