"""A layer before it is lowered to integers: its int8 weights and scales, and the tensor it writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import INT8_MAX, INT8_MIN, QParams, quantize
from calib.integer.values import Tensor


@dataclass(frozen=True)
class IntegerLayer:
    """A convolution or classifier with int8 weights, whose bias is still a real number.

    Attributes:
        name: for messages.
        weight: int8 with the output channel on axis 0; how the other axes are ordered changes nothing.
        bias: float [O].
        scales: of the weights, float32 [O].
        input: scale and zero point of what the layer reads.
    """

    name: str
    weight: NDArray[np.int8]
    bias: NDArray[np.floating]
    scales: NDArray[np.floating]
    input: QParams

    @property
    def step(self) -> NDArray[np.float64]:
        """The real value of one unit of each channel's accumulator, s_x * s_w[c], [O]."""
        return np.float64(np.float32(self.input.scale)) * np.asarray(self.scales, np.float32).astype(np.float64)

    @property
    def weight_sum(self) -> NDArray[np.int64]:
        """The sum of each channel's weights, [O]."""
        return self.weight.reshape(self.weight.shape[0], -1).astype(np.int64).sum(axis=1)


def integer_bounds(bounds: tuple[float, float], params: QParams) -> tuple[int, int]:
    """Return the real bounds of a tensor as the integers they quantize to."""
    low, high = quantize(np.asarray(bounds, np.float32), params)
    return int(low), int(high)


@dataclass(frozen=True)
class LayerOutput:
    """The tensor that a layer writes, or that the residual add behind it writes.

    Attributes:
        qparams: scale and zero point; those of the add's output when there is a residual.
        low: smallest integer after clamping; the zero point behind a ReLU. Those of int16 are given.
        high: largest integer after clamping.
        residual: the tensor added after the layer.
    """

    qparams: QParams
    low: int = INT8_MIN
    high: int = INT8_MAX
    residual: Tensor | None = None

    @property
    def adds_wide(self) -> bool:
        """Whether there is a residual add with an int16 tensor in it."""
        return self.residual is not None and (self.qparams.is_wide or self.residual.qparams.is_wide)
