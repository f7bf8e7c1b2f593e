"""Operators that read and write 8-bit tensors themselves (ONNX Runtime's QOperator form), as Q/DQ around float ones.

Each becomes DequantizeLinear for what it reads, the operator of real numbers that it stands for, and QuantizeLinear:
the network that the QDQ form spells. What moves bytes, a Flatten or a max pool, keeps the scale of what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from calib.importer.onnx_file import check_names
from calib.importer.onnx_values import constant_tensor, stored_array
from repghost.errors import UsageError

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class _Form:
    """Where the inputs of an operator of 8-bit tensors are.

    Attributes:
        operator: what it does with real numbers.
        operands: the places of the 8-bit tensors; scale and zero point follow each. None: all from the third on.
        result: the place of the result's scale, which the zero point follows.
        bias: the place of an int32 bias, counted in products of both scales.
        axis: that a scale for each channel of the second operand belongs to; that of Gemm depends on transB.
    """

    operator: str
    operands: tuple[int, ...] | None
    result: int
    bias: int | None = None
    axis: int = 0


FORMS = {
    "QLinearConv": _Form("Conv", (0, 3), 6, bias=8),
    "QGemm": _Form("Gemm", (0, 3), 7, bias=6),
    "QLinearMatMul": _Form("MatMul", (0, 3), 6, axis=-1),
    "QLinearConcat": _Form("Concat", None, 0),
    **{f"QLinear{name}": _Form(name, (0, 3), 6) for name in ("Add", "Mul")},
    **{
        f"QLinear{name}": _Form(name, (0,), 3)
        for name in ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax")
    },
}
OF_ONNX_RUNTIME = [("com.microsoft", name) for name in FORMS]
OWN_ATTRIBUTES = ("channels_last", "opset")  # what ONNX's operators do not have; opset says which Softmax is meant
MOVERS = (
    "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


def to_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with Q/DQ nodes around real operators; the model itself where no operator reads 8-bit tensors.

    Args:
        model: a checked model, its nodes in order.

    Raises:
        UsageError: naming a node that lacks an input, or is of a form that ONNX's own operator does not have.
    """
    if not any(node.op_type in FORMS for node in model.graph.node):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = list(_Rewriting(made.graph).run(model.graph))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    check_names(made.graph)
    return made


def _real_node(operator: str, node: onnx.NodeProto, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    """Return ONNX's own operator with the attributes of a node."""
    made = helper.make_node(operator, inputs, outputs, node.name)
    made.attribute.extend(entry for entry in node.attribute if entry.name not in OWN_ATTRIBUTES)
    return made


class _Rewriting:
    """Walks over nodes in their order and remembers the scale and the zero point of each 8-bit tensor."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph  # takes the biases
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.constants |= {node.output[0]: constant_tensor(node) for node in graph.node if node.op_type == "Constant"}
        self.params: dict[str, list[str]] = {}

    def run(self, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
        """Yield the nodes of a graph; those that read 8-bit tensors read real ones."""
        for node in graph.node:
            if node.op_type in FORMS:
                yield from self._operator(node, FORMS[node.op_type])
            elif node.op_type in MOVERS and node.input and node.input[0] in self.params:
                yield from self._mover(node)
            else:
                if node.op_type == QUANTIZE:
                    self.params[node.output[0]] = list(node.input[1:])
                yield node

    def _operator(self, node: onnx.NodeProto, form: _Form) -> Iterator[onnx.NodeProto]:
        if len(node.output) != 1:
            raise UsageError(f"node {node.name!r} ({node.op_type}) has {len(node.output)} outputs; one is understood.")
        numbers = {entry.name: entry.i for entry in node.attribute}
        if numbers.get("channels_last", 0):
            raise UsageError(f"node {node.name!r} ({node.op_type}) has channels_last; export it with channels first.")
        operands = form.operands if form.operands is not None else tuple(range(2, len(node.input), 3))
        axis = form.axis if form.operator != "Gemm" else int(not numbers.get("transB", 0))
        inputs: list[str] = []
        for place in operands:
            source, *params = self._given(node, place, 3)
            inputs.append(f"{node.output[0]}, operand {len(inputs)}")
            along = {"axis": axis} if len(inputs) == 2 else {}
            yield helper.make_node(DEQUANTIZE, [source, *params], [inputs[-1]], **along)
        if form.bias is not None and len(node.input) > form.bias and node.input[form.bias]:
            inputs.append(self._real_bias(node, form.bias, operands))
        if form.operator == "Gemm" and not any(node.input[form.result :]):  # the scores, in float
            yield _real_node(form.operator, node, inputs, list(node.output))
            return
        yield from self._quantized(form.operator, node, inputs, self._given(node, form.result, 2))

    def _mover(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yield a node that moves 8-bit numbers, between Q and DQ; the value that Pad puts around is one, too."""
        params, inputs = self.params[node.input[0]], list(node.input)
        for place in (0, 2) if node.op_type == "Pad" and len(inputs) > 2 and inputs[2] else (0,):
            inputs[place] = f"{node.output[0]}, operand {place}"
            yield helper.make_node(DEQUANTIZE, [node.input[place], *params], [inputs[place]])
        yield from self._quantized(node.op_type, node, inputs, params)

    def _quantized(
        self, operator: str, node: onnx.NodeProto, inputs: list[str], params: list[str]
    ) -> Iterator[onnx.NodeProto]:
        """Yield a real operator and a Q node for each of its results."""
        real = [f"{name}, real" if name else "" for name in node.output]
        yield _real_node(operator, node, inputs, real)
        for source, name in zip(real, node.output, strict=True):
            if name:
                self.params[name] = params
                yield helper.make_node(QUANTIZE, [source, *params], [name])

    def _given(self, node: onnx.NodeProto, first: int, count: int) -> list[str]:
        names = list(node.input[first : first + count])
        if len(names) < count or not all(names):
            raise UsageError(
                f"node {node.name!r} ({node.op_type}) needs a tensor, a scale and a zero point for what it reads, and "
                f"a scale and a zero point for its result; it has {len(node.input)} inputs: {list(node.input)}. "
                "Quantize it again."
            )
        return names

    def _real_bias(self, node: onnx.NodeProto, place: int, operands: tuple[int, ...]) -> str:
        """Store an int32 bias as real numbers, as DequantizeLinear would give them, and return its name."""
        names = [node.input[place], *(node.input[operand + 1] for operand in operands)]
        if missing := [name for name in names if name not in self.constants]:
            raise UsageError(f"node {node.name!r} ({node.op_type}) computes {missing[0]!r}; it must be a constant.")
        bias, scale_x, scale_w = (stored_array(self.constants[name]) for name in names)
        if bias.dtype != np.int32 or bias.ndim != 1 or scale_x.size != 1 or scale_w.size not in (1, bias.size):
            raise UsageError(
                f"node {node.name!r} ({node.op_type}) has a bias of {bias.dtype} {list(bias.shape)} for scales of "
                f"{list(scale_x.shape)} and {list(scale_w.shape)}; one int32 number for each channel is understood. "
                "Quantize it again."
            )
        step = scale_x.astype(np.float32).reshape(-1) * scale_w.astype(np.float32).reshape(-1)
        name = f"{node.output[0]}, bias"
        self.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32) * step, name))
        return name
