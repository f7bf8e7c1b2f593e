"""The float form of an integer program: the same layers with the same weights, and nothing rounded in between.

A file that is already quantized has no other float form. Its speed is that of the float network it was quantized from,
its answers are those of the quantized weights. Upper bounds, of ReLU6 for example, are left out: nothing limits what a
float can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import (
    Add,
    Concat,
    Conv2d,
    Crop,
    DepthwiseConv2d,
    Dequantize,
    GlobalAveragePool,
    InputTable,
    Lookup,
    MaxPool,
    Multiply,
    Operator,
    Program,
)
from calib.integer.qparams import QParams
from calib.integer.values import Requantize, RequantizeAdd, Tensor, ToLogits
from compile.ir.float_program import (
    FloatAdd,
    FloatConcat,
    FloatConv2d,
    FloatCrop,
    FloatDepthwiseConv2d,
    FloatFunction,
    FloatGate,
    FloatInput,
    FloatMaxPool,
    FloatOperator,
    FloatPool,
    FloatProgram,
    FloatTensor,
    program_digest,
)
from compile.ir.float_reference import FUNCTIONS
from compile.ir.memory_plan import CHANNEL_GROUP
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError

ADD_UNIT = 4096  # of the multipliers before a residual add
TABLE_STEPS = 1  # by which a table may differ from the function it is recognized as


def float_form(program: Program, preprocess: Preprocess) -> FloatProgram:
    """Return the float program with the layers and weights of an integer program.

    Args:
        program: from `compile.passes.lower`.
        preprocess: belongs to the digest.

    Raises:
        UsageError: naming a layer that has no float form here.
    """
    form = _FloatForm(program)
    for operator in program.operators:
        form.add(operator)
    digest = program_digest(form.operators, preprocess)
    return FloatProgram(
        tuple(form.operators), program.height, program.width, program.classes, digest, channels=program.channels
    )


class _FloatForm:
    """Collects the operators."""

    def __init__(self, program: Program) -> None:
        self.program, self.operators = program, list[FloatOperator]()
        self.tensors: dict[str, FloatTensor] = {}
        self.made_by = {operator.output.name: operator for operator in program.operators}
        self.readers: dict[str, list[Operator]] = {}
        for operator in program.operators:
            for tensor in operator.inputs:
                self.readers.setdefault(tensor.name, []).append(operator)

    def add(self, op: Operator) -> None:
        """Append the float form of an operator."""
        match op:
            case Dequantize():
                return  # the operator before already writes the scores
            case Lookup() if only_rescales(op):
                self.tensors[op.output.name] = self.tensors[op.input.name]  # the same real numbers
            case Lookup() if function_of(op) == "hard_sigmoid" and self._only_gates(op.output):
                return  # part of the gates that read it
            case Conv2d() | DepthwiseConv2d():
                self._convolution(op)
            case InputTable():
                scale, zero = op.output.qparams.scale, op.output.qparams.zero_point
                self._append(FloatInput(op.name, self._output(op), _real(op.tables, scale, zero)))
            case GlobalAveragePool():
                self._append(FloatPool(op.name, self.tensors[op.input.name], self._output(op)))
            case Lookup():
                self._append(FloatFunction(op.name, self.tensors[op.input.name], self._output(op), function_of(op)))
            case Multiply() if op.gate.shape == (1, 1, op.output.channels):
                raw = self.tensors[self._gate_source(op).name]
                self._append(FloatGate(op.name, self.tensors[op.input.name], raw, self._output(op)))
            case Add() if min(op.factor, op.other_factor) >= 0 and op.other.shape == op.output.shape:
                x, other = self.tensors[op.input.name], self.tensors[op.other.name]
                relu = op.low == op.output.qparams.zero_point
                self._append(FloatAdd(op.name, x, other, self._output(op), relu))
            case MaxPool():
                x = self.tensors[op.input.name]
                self._append(FloatMaxPool(op.name, x, self._output(op), op.size, op.strides, op.pads, op.dilations))
            case Concat():
                inputs = tuple(self.tensors[tensor.name] for tensor in op.parts)
                self._append(FloatConcat(op.name, inputs, self._output(op)))
            case Crop():
                x = self.tensors[op.input.name]
                self._append(FloatCrop(op.name, x, self._output(op), op.row, op.column, op.channel))
            case _:
                raise UsageError(f"{op.name} ({type(op).__name__}) has no float form; ask for PRECISION=int8.")

    def _append(self, operator: FloatOperator) -> None:
        if operator.output.channels % CHANNEL_GROUP and isinstance(operator, FloatConcat | FloatCrop):
            raise UsageError(f"{operator.name}: in float only multiples of {CHANNEL_GROUP} channels are put together.")
        self.operators.append(operator)
        self.tensors[operator.output.name] = operator.output

    def _output(self, op: Operator, name: str = "") -> FloatTensor:
        return FloatTensor(name or op.output.name, op.output.height, op.output.width, op.output.channels)

    def _only_gates(self, tensor: Tensor) -> bool:
        return all(isinstance(reader, Multiply) and reader.gate == tensor for reader in self.readers[tensor.name])

    def _gate_source(self, op: Multiply) -> Tensor:
        maker = self.made_by[op.gate.name]
        if not isinstance(maker, Lookup) or function_of(maker) != "hard_sigmoid":
            raise UsageError(f"{op.name}: in float a gate has to come from a hard sigmoid; ask for PRECISION=int8.")
        return maker.input

    def _convolution(self, op: Conv2d | DepthwiseConv2d) -> None:
        weight, bias = real_weights(op)
        geometry, apart = (op.strides, op.pads), op.dilations
        x, epilogue = self.tensors[op.input.name], op.epilogue
        readers = self.readers.get(op.output.name, [])
        logits = isinstance(epilogue, ToLogits) or any(isinstance(reader, Dequantize) for reader in readers)
        relu = not logits and getattr(epilogue, "low", None) == op.output.qparams.zero_point
        residual = self.tensors[epilogue.residual.name] if isinstance(epilogue, RequantizeAdd) else None
        if isinstance(op, DepthwiseConv2d):
            layer = op.name, x, self._output(op), weight, bias
            self._append(FloatDepthwiseConv2d(*layer, *geometry, relu, residual, dilations=apart))
        elif residual is None:
            layer = op.name, x, self._output(op), weight, bias
            self._append(FloatConv2d(*layer, *geometry, relu, logits, dilations=apart))
        else:
            part = self._output(op, f"{op.output.name}.before_add")
            self._append(FloatConv2d(op.name, x, part, weight, bias, *geometry, relu=False, dilations=apart))
            self._append(FloatAdd(f"{op.name}.add", part, residual, self._output(op), relu))


def real_weights(op: Conv2d | DepthwiseConv2d) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and bias as real numbers; the scales follow from the multiplier m = s_x * s_w / s_y.

    Raises:
        UsageError: for an int16 epilogue, whose multiplier says it in another way.
    """
    epilogue, x = op.epilogue, op.input.qparams
    if not isinstance(epilogue, Requantize | RequantizeAdd | ToLogits):
        raise UsageError(f"{op.name} accumulates in int16 and has no float form; ask for PRECISION=int8.")
    product = epilogue.multiplier.astype(np.float64)  # s_x * s_w of each channel
    if not isinstance(epilogue, ToLogits):
        product = product * op.output.qparams.scale / (ADD_UNIT if isinstance(epilogue, RequantizeAdd) else 1)
    per_channel = (slice(None), *[None] * (op.weight.ndim - 1))
    weight = op.weight * (product / x.scale)[per_channel]
    sums = op.weight.reshape(len(op.weight), -1).astype(np.int64).sum(axis=1)
    bias = (op.bias + x.zero_point * sums) * product
    return weight.astype(np.float32), bias.astype(np.float32)


def only_rescales(op: Lookup) -> bool:
    """Return whether a table stands for the same real number in another scale, as before a concatenation."""
    return _differs_by(op, lambda x: x) <= TABLE_STEPS


def function_of(op: Lookup) -> str:
    """Return which function a table of 256 is.

    Raises:
        UsageError: when it is none of `compile.ir.float_reference.FUNCTIONS`.
    """
    for name, function in FUNCTIONS.items():
        if _differs_by(op, function) <= TABLE_STEPS:
            return name
    raise UsageError(f"{op.name}: its table is none of {', '.join(FUNCTIONS)}; ask for PRECISION=int8.")


def _differs_by(op: Lookup, function: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> float:
    """Return the largest difference of a table from that of a function, in steps of the output."""
    x = _real(np.arange(-128, 128), op.input.qparams.scale, op.input.qparams.zero_point)
    return float(np.abs(_quantized(function(x), op.output.qparams) - op.table).max())


def _real(values: NDArray[Any], scale: float, zero_point: int) -> NDArray[np.float32]:
    return ((values.astype(np.float32) - zero_point) * np.float32(scale)).astype(np.float32)


def _quantized(values: NDArray[np.float32], qparams: QParams) -> NDArray[np.float64]:
    return np.clip(np.rint(values / np.float64(qparams.scale)) + qparams.zero_point, -128, 127)
