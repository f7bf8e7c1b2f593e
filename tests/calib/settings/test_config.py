from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.observers import OBSERVERS
from calib.settings.config import (
    CONFIG_VERSION,
    MAX_CONFIG_BYTES,
    LayerSettings,
    QuantConfig,
    config_from_dict,
    config_from_json,
    default_config,
)
from calib.settings.policy import POLICIES
from repghost.errors import UsageError


def test_defaults_survive_json() -> None:
    assert config_from_json(QuantConfig().to_json()) == QuantConfig()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_begins_with_defaults_of_its_own_which_a_file_may_change(policy: str) -> None:
    expected = POLICIES[policy].bias_correction
    assert default_config(policy) == config_from_dict({"policy": policy})
    assert default_config(policy).bias_correction == expected
    assert config_from_dict({"policy": policy, "bias_correction": False}).bias_correction is False
    assert config_from_dict({"policy": policy, "bias_correction": "auto"}).bias_correction == "auto"
    with pytest.raises(UsageError, match='true or false, or "auto"'):
        config_from_dict({"policy": policy, "bias_correction": "always"})


def test_without_a_policy_it_is_the_one_for_cpus() -> None:
    assert default_config() == config_from_dict({}) == QuantConfig()
    with pytest.raises(UsageError, match="Did you mean 'cpu'"):
        default_config("cpus")


def test_everything_survives_json() -> None:
    config = config_from_dict(
        {
            "version": 1,
            "policy": "tensorrt",
            "observer": "min_max",
            "percentile": 99.5,
            "depthwise_accumulator": "int32",
            "layers": {"*.se.*": {"observer": "percentile"}, "blocks.3.0.conv_dw": {"depthwise_accumulator": "int16"}},
        }
    )
    assert config_from_json(config.to_json()) == config


def test_the_last_pattern_that_matches_wins() -> None:
    config = config_from_dict(
        {
            "observer": "min_max",
            "layers": {
                "blocks.*": {"observer": "percentile", "percentile": 99.0},
                "blocks.3.*": {"percentile": 98.0},
                "*.se.*": {"observer": "min_max"},
            },
        }
    )
    assert config.settings("conv_stem") == LayerSettings("min_max")
    assert config.settings("blocks.1.0.add") == LayerSettings("percentile", 99.0)
    assert config.settings("blocks.3.0.add") == LayerSettings("percentile", 98.0)
    assert config.settings("blocks.3.0.se.pool") == LayerSettings("min_max", 98.0)


def test_null_keeps_layers_in_float_and_the_last_match_wins() -> None:
    config = config_from_json('{"layers": {"blocks.8.*": null, "*.add": {"percentile": 99.0}, "blocks.8.3.add": null}}')
    assert config.stays_float("blocks.8.2.ghost1.primary") and config.stays_float("blocks.8.3.add")
    assert not config.stays_float("blocks.8.2.add") and not config.stays_float("classifier")
    assert config.settings("blocks.8.2.add").percentile == 99.0
    assert config_from_json(config.to_json()) == config


REFUSED: list[tuple[Any, str]] = [
    ({"policy": "tensort"}, "unknown policy 'tensort'.*Did you mean 'tensorrt'"),
    ({"observer": "minmax"}, "unknown observer 'minmax'.*Did you mean 'min_max'"),
    ({"observr": "min_max"}, "unknown config key 'observr'.*Did you mean 'observer'"),
    ({"depthwise_accumulator": "int8"}, "unknown depthwise_accumulator 'int8'.*allowed: int16, int32"),
    ({"percentile": 50}, r"percentile must be in \(50, 100\]"),
    ({"percentile": 100.1}, r"percentile must be in \(50, 100\]"),
    ({"percentile": float("nan")}, "NaN is not a number of JSON"),
    ({"percentile": "99"}, "percentile must be a number"),
    ({"percentile": True}, "percentile must be a number"),
    ({"observer": ["min_max"]}, "unknown observer"),
    ({"policy": {}}, "unknown policy"),
    ({"version": CONFIG_VERSION + 1}, "version 2.*Update repghost"),
    ({"version": 0}, "version must be an integer"),
    ({"version": "1"}, "version must be an integer"),
    ({"version": True}, "version must be an integer"),
    ({"layers": []}, "must be an object"),
    ({"weight_range": "lsq"}, "unknown weight_range 'lsq'.*allowed: min_max, mse"),
    ({"learned_rounding": 1}, "learned_rounding must be true or false"),
    ({"layers": {"classifier": 8}}, "'classifier': settings must be an object"),
    ({"layers": {"classifier": {"bits": 4}}}, "unknown setting for layers 'classifier': 'bits'"),
    ({"layers": {"*": {"observer": "percentle"}}}, "Did you mean 'percentile'"),
    ([], "must be a JSON object, not list"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_wrong_values_are_refused_with_the_way_out(values: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config_from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"policy": "cpu", "policy": "tensorrt"}', "key 'policy' stands twice"),
        ('{"layers": {"a": {}, "a": {}}}', "key 'a' stands twice"),
        ("[" * 100_000, "not JSON"),
        (" " * (MAX_CONFIG_BYTES + 1), "at most"),
    ],
)
def test_wrong_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config_from_json(text)


def test_a_pattern_without_a_layer_is_refused_with_a_suggestion() -> None:
    config = config_from_dict({"layers": {"conv_stm": {"observer": "min_max"}}})
    with pytest.raises(UsageError, match=r"layer pattern 'conv_stm'.*Did you mean 'conv_stem'"):
        config.check_patterns(("input", "conv_stem", "classifier"))


WORDS = st.sampled_from(
    ["version", "policy", "observer", "percentile", "depthwise_accumulator", "layers", "*", "cpu", "min_max", "int16"]
)
SCALARS = st.none() | st.booleans() | st.integers(-2, 101) | st.floats() | WORDS | st.text(max_size=5)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4))


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(WORDS, JSON, max_size=6) | JSON)
def test_any_json_is_either_read_or_refused_in_words(values: Any) -> None:
    try:
        config = config_from_json(json.dumps(values))
    except UsageError:
        return
    assert config_from_json(config.to_json()) == config
    assert config.settings("blocks.3.0.add").observer in OBSERVERS


def test_what_a_search_tried_is_an_object() -> None:
    assert config_from_dict({"search": {"tried": []}}) == QuantConfig()
    with pytest.raises(UsageError, match=r'"search" .*object.*\[5\]'):
        config_from_dict({"search": [5]})
