"""What the operators of the integer program read and write: tensors, and what becomes of an accumulator.

An epilogue ends a convolution, a pool or a product: it turns sums into int8 or int16 values, or into the scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer import operation
from calib.integer.operation import Activation, Operation
from calib.integer.qparams import QParams


@dataclass(frozen=True)
class Tensor(Activation):
    """An int8 or int16 activation of shape (height, width, channels)."""

    qparams: QParams

    @property
    def element(self) -> str:
        """The type of its integers."""
        return self.qparams.element


IntegerOperation: TypeAlias = Operation[Tensor]  # the base of every operator
IntegerEpilogue: TypeAlias = operation.Epilogue[Tensor]  # the base of every epilogue


@dataclass(frozen=True)
class Requantize(IntegerEpilogue):
    """The epilogue of an int32 accumulator (`calib.integer.qparams.requantize`)."""

    multiplier: NDArray[np.float32]  # [C]
    zero_point: int
    low: int
    high: int
    arithmetic = "int32"


@dataclass(frozen=True)
class RequantizeAdd(IntegerEpilogue):
    """The epilogue of an int32 accumulator followed by a residual add (`calib.integer.qparams.requantize_add`)."""

    multiplier: NDArray[np.float32]  # [C], already times 4096
    zero_point: int
    low: int
    high: int
    residual: Tensor
    residual_factor: int
    arithmetic = "int32 + residual"


@dataclass(frozen=True)
class RequantizeWideAdd(IntegerEpilogue):
    """The epilogue of an int32 accumulator and a residual add, int16 among them (`qparams.requantize_wide_add`)."""

    multiplier: NDArray[np.float32]  # [C], already times 16
    zero_point: int
    low: int
    high: int
    residual: Tensor
    residual_factor: float
    arithmetic = "int32 + residual"


@dataclass(frozen=True)
class RequantizeQ15(IntegerEpilogue):
    """The epilogue of an int16 accumulator (`calib.integer.qparams.requantize_q15`)."""

    multiplier: NDArray[np.int16]  # [C]
    offset: NDArray[np.int16]  # [C]
    low: int
    high: int
    arithmetic = "int16"


@dataclass(frozen=True)
class RequantizeQ15Add(IntegerEpilogue):
    """The epilogue of an int16 accumulator followed by a residual add (`calib.integer.qparams.requantize_q15_add`)."""

    multiplier: NDArray[np.int16]  # [C]
    offset: NDArray[np.int16]  # [C]
    low: int
    high: int
    residual: Tensor
    residual_factor: int
    arithmetic = "int16 + residual"


@dataclass(frozen=True)
class ToLogits(IntegerEpilogue):
    """The last epilogue: float32 scores (`calib.integer.qparams.logits`)."""

    multiplier: NDArray[np.float32]  # [C]
    arithmetic = "int32, float scores"


Epilogue: TypeAlias = Requantize | RequantizeAdd | RequantizeWideAdd | RequantizeQ15 | RequantizeQ15Add | ToLogits
