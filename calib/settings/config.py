"""The settings of quantization: one frozen value, written as JSON into every artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from calib.observers import find_observer
from calib.settings.policy import find_policy
from repghost.errors import UsageError, unknown_value
from repghost.untrusted import parse_json

CONFIG_VERSION = 1
SEARCH = "search"  # a key of configs that a search wrote: what it tried; ignored when read
DEPTHWISE_ACCUMULATORS = ("int16", "int32")
WEIGHT_RANGES = ("min_max", "mse")
ACTIVATIONS = ("int8", "int16")
AUTO = "auto"  # of bias_correction: where it brings predictions nearer to float's
SWITCHES = ("ranges_by_answers", "equalize", "bias_correction", "learned_rounding")
Changes = tuple[tuple[str, Any], ...]  # the settings of a pattern that differ from the defaults
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class LayerSettings:
    """What can differ from layer to layer.

    Args:
        observer: a name of `calib.observers.OBSERVERS`.
        percentile: in (50, 100], for the percentile observer.
        depthwise_accumulator: int16 (fast kernels, weights a little coarser) or int32.
        weight_range: min_max (the largest weight of a channel is 127) or mse (the scale with the least square error);
            of no effect on int16 layers, whose scales follow from their accumulators (`calib.weight_scales.planning`).
        activations: int8, or int16 for a layer that reads 16 bits (`calib.settings.wide`); its weights stay int8.
    """

    observer: str = "percentile"
    percentile: float = 99.99
    depthwise_accumulator: str = "int16"
    weight_range: str = "min_max"
    activations: str = "int8"

    def __post_init__(self) -> None:
        """Refuse names outside their tables and a percentile outside (50, 100]."""
        find_observer(self.observer)
        if self.depthwise_accumulator not in DEPTHWISE_ACCUMULATORS:
            raise unknown_value("depthwise_accumulator", self.depthwise_accumulator, DEPTHWISE_ACCUMULATORS)
        if self.weight_range not in WEIGHT_RANGES:
            raise unknown_value("weight_range", self.weight_range, WEIGHT_RANGES)
        if self.activations not in ACTIVATIONS:
            raise unknown_value("activations", self.activations, ACTIVATIONS)
        if isinstance(self.percentile, bool) or not isinstance(self.percentile, int | float):
            raise UsageError(f"percentile must be a number in (50, 100], not {self.percentile!r}.")
        if not 50.0 < self.percentile <= 100.0:
            raise UsageError(f"percentile must be in (50, 100], not {self.percentile!r}. 99.99 is a usual choice.")


def _matches(layer: str, pattern: str) -> bool:
    """Return whether a pattern is a layer's name or matches it; names of other tools may hold brackets."""
    return layer == pattern or fnmatchcase(layer, pattern)


@dataclass(frozen=True)
class QuantConfig:
    """How a network is quantized.

    Args:
        policy: a name of `calib.settings.policy.POLICIES`.
        defaults: the settings of every layer no pattern matches.
        ranges_by_answers: take another observer for a tensor where that changes predictions less (`choose_observers`).
        equalize: bring the channels of a tensor to one range where that is exact (`calib.ptq.equalize`).
        bias_correction: keep every layer's mean output (`calib.ptq.bias_correction`); "auto" keeps the corrected biases
            where predictions are nearer to float's with them (`calib.ptq.auto_bias_correction`).
        learned_rounding: learn block by block whether each weight is rounded up or down (`calib.ptq.adaround`).
        layers: (pattern, settings that differ) in order; `*` matches any part of a layer's name, the last match wins.
            None instead of settings keeps the layer in float.
    """

    policy: str = "cpu"
    defaults: LayerSettings = LayerSettings()
    layers: tuple[tuple[str, Changes | None], ...] = ()
    ranges_by_answers: bool = True
    equalize: bool = False
    bias_correction: bool | str = AUTO
    learned_rounding: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown policy and settings that no layer could have."""
        find_policy(self.policy)
        for name in SWITCHES:
            value = getattr(self, name)
            if not isinstance(value, bool) and (name, value) != ("bias_correction", AUTO):
                also = f', or "{AUTO}"' if name == "bias_correction" else ""
                raise UsageError(f"{name} must be true or false{also}, not {value!r}.")
        for pattern, changes in self.layers:
            self._changed(self.defaults, pattern, changes or ())

    def settings(self, layer: str) -> LayerSettings:
        """Return the settings of one layer, e.g. of "blocks.3.0.ghost1.primary"; a float layer has no use for them."""
        result = self.defaults
        for pattern, changes in self.layers:
            if _matches(layer, pattern):
                result = self._changed(result, pattern, changes or ())
        return result

    def stays_float(self, layer: str) -> bool:
        """Return whether a layer is left in float: whether None is the last that matches it."""
        matching = [changes for pattern, changes in self.layers if _matches(layer, pattern)]
        return bool(matching) and matching[-1] is None

    @staticmethod
    def _changed(settings: LayerSettings, pattern: str, changes: Changes) -> LayerSettings:
        known = [field.name for field in fields(LayerSettings)]
        for key, _ in changes:
            if key not in known:
                raise unknown_value(f"setting for layers {pattern!r}:", key, known)
        return replace(settings, **dict(changes))

    def check_patterns(self, layers: tuple[str, ...]) -> None:
        """Refuse a pattern that matches no layer: it is most likely misspelt.

        Args:
            layers: the names of every layer and tensor of the network.
        """
        for pattern, _ in self.layers:
            if not any(_matches(layer, pattern) for layer in layers):
                raise unknown_value("layer pattern", pattern, layers)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which `config_from_dict` reads back to an equal value."""
        return {
            "version": CONFIG_VERSION,
            "policy": self.policy,
            **_written(self.defaults),
            **{name: getattr(self, name) for name in SWITCHES},
            "layers": {pattern: None if changes is None else dict(changes) for pattern, changes in self.layers},
        }

    def to_json(self) -> str:
        """Return the JSON text of `to_dict`."""
        return json.dumps(self.to_dict(), indent=2)


def _written(settings: LayerSettings) -> dict[str, Any]:
    """Return the JSON form of settings; of activations only what is not usual, which older programs do not know."""
    values = asdict(settings)
    if settings.activations == LayerSettings.activations:
        del values["activations"]
    return values


def default_config(policy: str | None = None) -> QuantConfig:
    """Return the settings that a policy begins with.

    Args:
        policy: a name of `calib.settings.policy.POLICIES`; the one for CPUs by default.

    Raises:
        UsageError: when there is no such policy.
    """
    found = find_policy(QuantConfig.policy if policy is None else policy)
    return QuantConfig(policy=found.name, bias_correction=found.bias_correction)


def config_from_dict(values: Mapping[str, Any]) -> QuantConfig:
    """Return the configuration written in a mapping; absent keys take the defaults of its policy.

    Raises:
        UsageError: for an unknown key or value, or a newer version.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"a quantization config must be a JSON object, not {type(values).__name__}.")
    version = values.get("version", CONFIG_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UsageError(f"the config's version must be an integer from 1 to {CONFIG_VERSION}, not {version!r}.")
    if version > CONFIG_VERSION:
        raise UsageError(
            f"the quantization config has version {version}; this program reads up to version {CONFIG_VERSION}. "
            "Update repghost, or rewrite the config for the older version."
        )
    setting_names = [field.name for field in fields(LayerSettings)]
    known = ["version", "policy", "layers", *setting_names, *SWITCHES, SEARCH]
    for key in values:
        if key not in known:
            raise unknown_value("config key", key, known)
    if not isinstance(values.get(SEARCH, {}), Mapping):
        raise UsageError(f'"{SEARCH}" must be an object, what a search tried, not {values[SEARCH]!r:.80}.')
    defaults = LayerSettings(**{key: values[key] for key in setting_names if key in values})
    switches = {key: values[key] for key in SWITCHES if key in values}
    start = default_config(values.get("policy", QuantConfig.policy))
    return replace(start, defaults=defaults, layers=_read_layers(values.get("layers", {})), **switches)


def _read_layers(layers: Any) -> tuple[tuple[str, Changes | None], ...]:
    """Return the patterns in the order of the file."""
    if not isinstance(layers, Mapping):
        raise UsageError(f'"layers" must be an object {{pattern: settings}}, not {type(layers).__name__}.')
    result: list[tuple[str, Changes | None]] = []
    for pattern, changes in layers.items():
        if changes is None:
            result.append((pattern, None))
            continue
        if not isinstance(changes, Mapping):
            raise UsageError(f"layers {pattern!r}: settings must be an object, or null for float, not {changes!r}.")
        result.append((pattern, tuple(changes.items())))
    return tuple(result)


def config_from_json(text: str) -> QuantConfig:
    """Return the configuration written as JSON text.

    Raises:
        UsageError: when the text is not JSON, names a key twice, or `config_from_dict` refuses it.
    """
    return config_from_dict(parse_json(text, "the quantization config", MAX_CONFIG_BYTES))
