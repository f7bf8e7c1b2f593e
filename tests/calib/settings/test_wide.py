"""Which layers may read 16 bits: those that have a form for it, chosen by name, by pattern or all together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from calib.settings.config import QuantConfig, config_from_dict, config_from_json
from calib.settings.quantspec import QuantSpec
from calib.settings.wide import chosen_layers, widened
from repghost.errors import UsageError
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import Classifier, Convolution, Function, GlobalAveragePool, Graph, MaxPool, Multiply
from tests.calib.simulate.test_wide_graphs import residual_graph
from tests.support.quantized_graphs import quantize

WIDE = {"activations": "int16"}


def gated_graph() -> Graph:
    """Return a network with a function and a gate in it."""
    plain = residual_graph()
    stem, deep, scores = plain.operators[0], plain.operators[5], plain.operators[7]
    assert isinstance(stem, Convolution) and isinstance(deep, Convolution) and isinstance(scores, Classifier)
    return Graph(
        (
            stem,
            Function("swish", "stem", FORMULAS["HardSwish"]),
            Multiply("gate", "swish", "stem"),
            MaxPool("pool", "gate", (2, 2), (2, 2)),
            Convolution("deep", "pool", deep.weight, deep.bias, pads=deep.pads),
            GlobalAveragePool("mean", "deep"),
            scores,
        ),
        3,
    )


def config_of(layers: dict[str, Any], **settings: Any) -> QuantConfig:
    return config_from_dict({"layers": layers, **settings})


def test_nothing_changes_where_nothing_is_chosen() -> None:
    graph = residual_graph()
    assert widened(graph, QuantConfig()) is graph
    assert "activations" not in QuantConfig().to_dict()  # as older programs wrote it


def test_settings_survive_being_written() -> None:
    for config in (config_of({"first": WIDE}), config_from_dict(WIDE)):
        assert config_from_json(json.dumps(config.to_dict())) == config
    with pytest.raises(UsageError, match="activations 'int32'"):
        config_from_dict({"activations": "int32"})


def test_scales_survive_being_written() -> None:
    _, spec = quantize(residual_graph(), {"layers": {"first": WIDE}})
    read = QuantSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert read.activations == spec.activations
    assert "int16" in spec.table().splitlines()[2]


def test_a_pattern_chooses_what_can_be() -> None:
    assert chosen_layers(gated_graph(), config_from_dict(WIDE)) == ("mean", "scores")
    assert chosen_layers(residual_graph(), config_of({"s*": WIDE})) == ("second", "sum", "scores")
    assert chosen_layers(residual_graph(), config_of({"s*": WIDE, "second": {"activations": "int8"}})) == (
        "sum",
        "scores",
    )


REFUSED = {
    "stem": "stem cannot read 16 bits: it reads the picture",
    "swish": "swish cannot read 16 bits: Function has no form for 16 bits",
    "gate": "gate cannot read 16 bits: Multiply has no form for 16 bits",
    "pool": "pool cannot read 16 bits: it only moves numbers",
    "deep": r"deep cannot read 16 bits: it reads the result of gate \(Multiply\), which is computed in 8 bits",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[name]):
        quantize(gated_graph(), {"layers": {name: WIDE}})


def test_a_pattern_that_chooses_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="no layer that is to read 16 bits can: swish cannot, Function has no form"):
        quantize(gated_graph(), {"layers": {"sw*": WIDE}})


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="layer pattern 'frist'"):
        quantize(residual_graph(), {"layers": {"frist": WIDE}})


def test_files_for_tensorrt_have_none() -> None:
    with pytest.raises(UsageError, match="first: activations int16 are for the CPU policy alone"):
        quantize(residual_graph(), {"policy": "tensorrt", "layers": {"first": WIDE}})
