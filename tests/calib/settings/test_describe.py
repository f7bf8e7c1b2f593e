from __future__ import annotations

from typing import Any

import pytest

from calib.settings.config import LayerSettings, QuantConfig
from calib.settings.describe import UNKNOWN, describe_observers

DEFAULT = QuantConfig().to_dict()
OVERLAPPING = QuantConfig(
    defaults=LayerSettings("min_max"), layers=(("b.*", (("observer", "percentile"),)), ("b.1", (("percentile", 99.5),)))
)
LAYERS = QuantConfig(layers=(("*.conv_dw", (("observer", "min_max"),)), ("conv_stem", (("weight_range", "mse"),))))


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"config": DEFAULT}, "observer percentile 99.99"),
        ({"config": QuantConfig(defaults=LayerSettings("min_max")).to_dict()}, "observer min_max"),
        ({"config": OVERLAPPING.to_dict()}, "observer min_max, percentile 99.99 for b.*, percentile 99.5 for b.1"),
        ({"config": LAYERS.to_dict()}, "observer percentile 99.99, min_max for *.conv_dw"),
        (
            {"config": DEFAULT, "observers": {"a": "min_max", "b": "percentile 99.9", "c": "min_max"}},
            "observer percentile 99.99, another one for 3 tensors where the answers prefer it (min_max for 2, "
            "percentile 99.9 for 1)",
        ),
        (
            {"config": DEFAULT, "trained": "epoch 3"},
            "scales of epoch 3 under quantization, which began with observer percentile 99.99",
        ),
        ({"config": {}}, UNKNOWN),
        ({"config": {"quantizer": "another program"}}, UNKNOWN),
        ({"config": {"observer": "unheard of"}}, UNKNOWN),
    ],
)
def test_the_observers_that_were_used_are_named(quantization: dict[str, Any], words: str) -> None:
    assert describe_observers(quantization) == words
