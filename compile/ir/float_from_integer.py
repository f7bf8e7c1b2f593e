"""The float form of an integer program: the same layers with the same weights, and nothing rounded in between.

A file that is already quantized has no other float form. Its speed is that of the float network it was quantized from,
its answers are those of the quantized weights. A clamp below the largest integer stays one. At the largest integer,
where most files put the bound of a ReLU6, it cannot be told from the end of the scale and is left out: nothing limits
what a float can hold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import (
    Add,
    AveragePool,
    ChannelSlopes,
    Concat,
    Conv2d,
    Crop,
    DepthwiseConv2d,
    Dequantize,
    GlobalAveragePool,
    InputTable,
    LinearResize,
    Lookup,
    MaxPool,
    Multiply,
    NearestUpsample,
    Operator,
    Pad,
    Program,
    Rescale,
    SelectPixels,
    ShuffleChannels,
    WideAdd,
)
from calib.integer.qparams import ADD_SHIFT, LINEAR_SHIFT, WIDE_ADD_SHIFT
from calib.integer.values import Requantize, RequantizeAdd, RequantizeWideAdd, Tensor, ToLogits
from compile.ir.float_digest import program_digest
from compile.ir.float_from_graph import is_broadcast, with_scores
from compile.ir.float_program import (
    FloatAdd,
    FloatAveragePool,
    FloatChannelSlopes,
    FloatConcat,
    FloatConv2d,
    FloatCrop,
    FloatDepthwiseConv2d,
    FloatFunction,
    FloatGate,
    FloatInput,
    FloatMaxPool,
    FloatMultiply,
    FloatOperator,
    FloatPad,
    FloatPool,
    FloatProgram,
    FloatResize,
    FloatShuffleChannels,
    FloatSubtract,
    FloatTensor,
)
from compile.ir.table_formulas import formula_of, only_rescales
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, option
from repghost.graph.formulas import HARD_SIGMOID
from repghost.graph.operators import UNBOUNDED, Clamp, Step

Clamped: TypeAlias = Requantize | RequantizeAdd | RequantizeWideAdd | Add | WideAdd  # what has bounds

ADD_UNITS = {RequantizeAdd: 1 << ADD_SHIFT, RequantizeWideAdd: 1 << WIDE_ADD_SHIFT}  # of multipliers before an add


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
    operators = with_scores(form.operators)
    digest = program_digest(operators, preprocess)
    sizes = program.height, program.width, program.classes
    return FloatProgram(operators, *sizes, digest, channels=program.channels)


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
                self.tensors[op.output.name] = self.tensors[op.input.name]
            case Rescale():
                self.tensors[op.output.name] = self.tensors[op.input.name]
            case Lookup() if only_rescales(op):
                self.tensors[op.output.name] = self.tensors[op.input.name]  # the same real numbers
            case Lookup() if self._only_gates(op):
                return  # part of the gates that read it
            case Conv2d() | DepthwiseConv2d():
                self._append(self._convolution(op))
            case Lookup():
                self._append(FloatFunction(op.name, self.tensors[op.input.name], self._output(op), formula_of(op)))
            case Multiply():
                self._append(self._multiply(op))
            case Add() | WideAdd():
                self._append(self._add(op))
            case _:
                self._append(self._other(op))
                epilogue = getattr(op, "epilogue", None)
                if isinstance(epilogue, Requantize) and _limits(epilogue, op.output):
                    limits = (Step("Clip", (0, *clamp_of(epilogue, op.output))),)
                    x = self.operators[-1].output
                    self._append(FloatFunction(f"{op.name}.clamp", x, self._output(op, ".clamped"), limits), op.output)

    def _other(self, op: Operator) -> FloatOperator:
        y = self._output(op)
        if isinstance(op, InputTable):
            return FloatInput(op.name, y, _real(op.tables, op.output.qparams.scale, op.output.qparams.zero_point))
        x = self.tensors[op.inputs[0].name]
        match op:
            case GlobalAveragePool():
                return FloatPool(op.name, x, y)
            case AveragePool():
                return FloatAveragePool(
                    op.name, x, y, op.size, op.strides, op.pads, *_shares(op), dilations=op.dilations
                )
            case MaxPool():
                return FloatMaxPool(op.name, x, y, op.size, op.strides, op.pads, op.dilations)
            case ChannelSlopes():
                return FloatChannelSlopes(op.name, x, y, op.slopes / op.epilogue.multiplier)
            case Concat():
                return FloatConcat(op.name, tuple(self.tensors[tensor.name] for tensor in op.parts), y)
            case Crop():
                return FloatCrop(op.name, x, y, op.row, op.column, op.channel)
            case NearestUpsample():
                rows, columns = np.arange(y.height) // op.rows, np.arange(y.width) // op.columns
                return _selection(op.name, x, y, rows, columns)
            case SelectPixels():
                return _selection(op.name, x, y, op.rows, op.columns)
            case LinearResize():
                one = np.float32(1 << LINEAR_SHIFT)
                below, right = op.rows[:, 2].astype(np.float32) / one, op.columns[:, 2].astype(np.float32) / one
                return FloatResize(op.name, x, y, op.rows[:, :2].T, op.columns[:, :2].T, below, right)
            case Pad():
                value = float((op.value - op.output.qparams.zero_point) * np.float32(op.output.qparams.scale))
                return FloatPad(op.name, x, y, op.row, op.column, op.channel, value)
            case ShuffleChannels():
                return FloatShuffleChannels(op.name, x, y, op.groups)
        raise UsageError(f"{op.name} ({type(op).__name__}) has no float form; ask for {option('precision', 'int8')}.")

    def _append(self, operator: FloatOperator, stands_for: Tensor | None = None) -> None:
        self.operators.append(operator)
        self.tensors[(stands_for or operator.output).name] = operator.output

    def _output(self, op: Operator, suffix: str = "") -> FloatTensor:
        return FloatTensor(op.output.name + suffix, op.output.height, op.output.width, op.output.channels)

    def _only_gates(self, op: Lookup) -> bool:
        """Tell whether a table is a hard sigmoid that only gates of channels read."""
        readers = self.readers.get(op.output.name, [])
        are_gates = all(isinstance(reader, Multiply) and self._is_gate(reader, op.output) for reader in readers)
        return are_gates and bool(readers) and formula_of(op) == HARD_SIGMOID

    def _is_gate(self, op: Multiply, gate: Tensor) -> bool:
        fits = gate.shape == (1, 1, op.input.channels) and op.input != gate
        return op.gate == gate and fits and not _limits(op.epilogue, op.output)

    def _multiply(self, op: Multiply) -> FloatOperator:
        x, y = self.tensors[op.input.name], self._output(op)
        maker = self.made_by.get(op.gate.name)
        if op.gate.name not in self.tensors and isinstance(maker, Lookup):
            return FloatGate(op.name, x, self.tensors[maker.input.name], y)
        other = self._spread(op.name, self.tensors[op.gate.name], y)
        return FloatMultiply(op.name, x, other, y, clamp_of(op.epilogue, op.output))

    def _add(self, op: Add | WideAdd) -> FloatOperator:
        x, y, clamp = self.tensors[op.input.name], self._output(op), clamp_of(op, op.output)
        other = self._spread(op.name, self.tensors[op.other.name], y, to_all=op.factor < 0)
        if min(op.factor, op.other_factor) >= 0:
            return FloatAdd(op.name, x, other, y, clamp)
        if op.factor >= 0:
            return FloatSubtract(op.name, x, other, y, clamp)
        return FloatSubtract(op.name, other, x, y, clamp)

    def _spread(self, name: str, x: FloatTensor, y: FloatTensor, to_all: bool = False) -> FloatTensor:
        """Return what is put together with a map of the size of y: x, or where no kernel spreads it, copies of it."""
        if is_broadcast(x, y) and not (to_all and x.shape != y.shape):
            return x
        if x.shape[:2] != y.shape[:2]:
            spread = replace(x, name=f"{name}.spread", height=y.height, width=y.width)
            rows, columns = (np.arange(whole) % one for whole, one in zip(y.shape[:2], x.shape[:2], strict=True))
            self._append(_selection(spread.name, x, spread, rows, columns))
            x = spread
        if x.channels != y.channels:
            repeated = replace(x, name=f"{name}.repeated", channels=y.channels)
            self._append(FloatConcat(repeated.name, (x,) * y.channels, repeated))
            x = repeated
        return x

    def _convolution(self, op: Conv2d | DepthwiseConv2d) -> FloatOperator:
        weight, bias = real_weights(op)
        x, epilogue = self.tensors[op.input.name], op.epilogue
        clamp, residual = UNBOUNDED, None
        if isinstance(epilogue, Requantize | RequantizeAdd | RequantizeWideAdd):
            clamp = clamp_of(epilogue, op.output)
        if isinstance(epilogue, RequantizeAdd | RequantizeWideAdd):
            residual = self.tensors[epilogue.residual.name]
        kind = FloatDepthwiseConv2d if isinstance(op, DepthwiseConv2d) else FloatConv2d
        layer = op.name, x, self._output(op), weight, bias
        return kind(*layer, op.strides, op.pads, clamp, dilations=op.dilations, residual=residual)


def _shares(op: AveragePool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the share of one row and of one column of a window in its mean; the multipliers are their products."""
    shares = op.epilogue.multiplier.astype(np.float64) * op.output.qparams.scale / op.input.qparams.scale
    shares = np.broadcast_to(shares, (op.output.height, op.output.width, 1))[..., 0]
    return (shares[:, 0] / shares[0, 0]).astype(np.float32), shares[0].astype(np.float32)


def _limits(bounds: Clamped, output: Tensor) -> bool:
    """Tell whether bounds are others than the ends of what a tensor holds."""
    return (bounds.low, bounds.high) != (output.qparams.low, output.qparams.high)


def clamp_of(bounds: Clamped, output: Tensor) -> Clamp:
    """Return the real numbers that integers are limited to; the ends of int8 are no limits, but for a ReLU's 0."""
    scale, zero = output.qparams.scale, output.qparams.zero_point
    has_low = bounds.low > output.qparams.low or bounds.low == zero
    low = float((bounds.low - zero) * np.float32(scale)) if has_low else UNBOUNDED[0]
    high = float((bounds.high - zero) * np.float32(scale)) if bounds.high < output.qparams.high else UNBOUNDED[1]
    return low, high


def _selection(
    name: str, x: FloatTensor, y: FloatTensor, rows: NDArray[np.integer], columns: NDArray[np.integer]
) -> FloatResize:
    """Return the operator that copies rows and columns of a map."""
    above, beside = (np.stack([places, places]).astype(np.int32) for places in (rows, columns))
    return FloatResize(name, x, y, above, beside, np.zeros(y.height, np.float32), np.zeros(y.width, np.float32))


def real_weights(op: Conv2d | DepthwiseConv2d) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and bias as real numbers; the scales follow from the multiplier m = s_x * s_w / s_y.

    Raises:
        UsageError: for an int16 epilogue, whose multiplier says it in another way.
    """
    epilogue, x = op.epilogue, op.input.qparams
    if not isinstance(epilogue, Requantize | RequantizeAdd | RequantizeWideAdd | ToLogits):
        raise UsageError(
            f"{op.name} accumulates in int16 and has no float form; ask for {option('precision', 'int8')}."
        )
    product = epilogue.multiplier.astype(np.float64)  # s_x * s_w of each channel
    if not isinstance(epilogue, ToLogits):
        product = product * op.output.qparams.scale / ADD_UNITS.get(type(epilogue), 1)
    per_channel = (slice(None), *[None] * (op.weight.ndim - 1))
    weight = op.weight * (product / x.scale)[per_channel]
    sums = op.weight.reshape(len(op.weight), -1).astype(np.int64).sum(axis=1)
    bias = (op.bias + x.zero_point * sums) * product
    return weight.astype(np.float32), bias.astype(np.float32)


def _real(values: NDArray[Any], scale: float, zero_point: int) -> NDArray[np.float32]:
    return ((values.astype(np.float32) - zero_point) * np.float32(scale)).astype(np.float32)
