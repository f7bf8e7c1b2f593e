"""What calibration decides: a scale and zero point for each tensor, weight scales for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import QParams


@dataclass(frozen=True)
class QuantSpec:
    """The numbers that, with the float weights, define the quantized network.

    Attributes:
        activations: scale and zero point by tensor.
        weight_scales: float32 [O] by layer.
        accumulators: "int16" or "int32" by depthwise layer.
        observers: by tensor, where `choose_observers` took another than the config names, e.g. "percentile 99.9".
        notes: what the user should know, e.g. tensors that were constant on the calibration images.
    """

    activations: Mapping[str, QParams]
    weight_scales: Mapping[str, NDArray[np.float32]]
    accumulators: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    observers: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; `from_dict` reads back equal numbers."""
        return {
            "activations": {name: _numbers(q) for name, q in self.activations.items()},
            "weight_scales": {name: [float(s) for s in scales] for name, scales in self.weight_scales.items()},
            "accumulators": dict(self.accumulators),
            "notes": list(self.notes),
            "observers": dict(self.observers),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantSpec:
        """Return the value that `to_dict` wrote."""
        return cls(
            {
                name: QParams(float(scale), int(zero), *map(int, reach))
                for name, (scale, zero, *reach) in values["activations"].items()
            },
            {name: np.asarray(scales, np.float32) for name, scales in values["weight_scales"].items()},
            dict(values["accumulators"]),
            tuple(values["notes"]),
            dict(values.get("observers", {})),
        )

    def table(self) -> str:
        """Return a text table: each tensor's covered range, scale and zero point, each layer's weight scales."""
        lines = [f"{'tensor':32} {'low':>10} {'high':>10} {'scale':>12} {'zero':>5}"]
        for name, q in self.activations.items():
            low, high = q.scale * (q.low - q.zero_point), q.scale * (q.high - q.zero_point)
            wide = "  int16" if q.is_wide else ""
            lines.append(f"{name:32} {low:10.4f} {high:10.4f} {q.scale:12.6g} {q.zero_point:5d}{wide}")
        lines.append(f"{'layer':32} {'least':>10} {'largest':>10}   accumulator")
        for name, scales in self.weight_scales.items():
            kind = self.accumulators.get(name, "int32")
            lines.append(f"{name:32} {scales.min():10.3g} {scales.max():10.3g}   {kind}")
        return "\n".join(lines)


def _numbers(q: QParams) -> list[float | int]:
    """Return scale and zero point, and how far int16 reaches."""
    return [q.scale, q.zero_point] if q.reach is None else [q.scale, q.zero_point, q.reach]
