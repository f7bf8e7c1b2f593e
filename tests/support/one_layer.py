"""QDQ files of one layer."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.qdq_models import Model


def one_layer(*layers: Callable[[Model, str], str], channels: int = 8) -> Model:
    """Return a model: image, one convolution, the given layers, mean, linear layer."""
    m = Model(8)
    x = m.quantize("input", 0.02, -3)
    x = m.quantize(m.conv("first", x, 3, 8), 0.03, 2)
    for layer in layers:
        x = layer(m, x)
    x = m.quantize(m.node("GlobalAveragePool", [x], "mean"), 0.02, 0)
    m.linear("logits", m.node("Flatten", [x], "flat"), channels, 4)
    return m


def softmax(m: Model, x: str) -> str:
    """Append what has no rule in integers."""
    return m.quantize(m.node("Softmax", [x], "soft", axis=1), 0.03, 0)
