"""What is measured: one row per way to quantize a network. A new way is a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from calib.qat.settings import QatSettings
from calib.settings.config import LayerSettings, QuantConfig
from repghost.errors import unknown_value

FUSED, UNFUSED = "fused", "unfused"
FLOAT_TRAINED = "float32, as QAT fused"  # the row that says what training changes without quantization


@dataclass(frozen=True)
class Calibrated:
    """Our post-training quantization.

    Attributes:
        config: the settings, or those that a search starts from.
        max_drop: points of top-1 that a search may lose on held-out training images; None does not search.
    """

    config: QuantConfig = field(default_factory=QuantConfig)
    max_drop: float | None = None

    def key(self) -> dict[str, Any]:
        """Return what decides the result, apart from weights and images."""
        return {"calibrated": self.config.to_dict(), "max_drop": self.max_drop}


@dataclass(frozen=True)
class Trained:
    """Our training under quantization."""

    settings: QatSettings
    config: QuantConfig = field(default_factory=QuantConfig)

    def key(self) -> dict[str, Any]:
        """Return what decides the result, apart from weights and images."""
        return {"trained": self.settings.to_dict(), "config": self.config.to_dict()}


@dataclass(frozen=True)
class Foreign:
    """Another tool's quantizer.

    Attributes:
        tool: a module of `compile.accuracy.tools`.
        options: for its `quantize`.
        form: of the network it is given.
    """

    tool: str
    options: Mapping[str, Any] = field(default_factory=dict)
    form: str = FUSED

    def key(self) -> dict[str, Any]:
        """Return what decides the result, apart from weights and images."""
        return {"foreign": asdict(self)}


@dataclass(frozen=True)
class FloatTrained:
    """The fused float network trained on as `Trained` is, without any quantizer: what training alone changes."""

    settings: QatSettings

    def key(self) -> dict[str, Any]:
        """Return what decides the result, apart from weights and images."""
        return {"float_trained": self.settings.to_dict()}


Quantizer: TypeAlias = Calibrated | Trained | FloatTrained | Foreign


@dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        name: unique; what tables call it.
        group: a name of `GROUPS`.
        quantizer: how.
        goal: a name of `compile.accuracy.goals.GOALS` that it should reach; "" where nothing was asked for.
    """

    name: str
    group: str
    quantizer: Quantizer
    goal: str = ""


GROUPS = {
    "calibrated": "Calibrated",
    "trained": "Trained under quantization",
    "float": "float32, trained on",
    "other": "Other tools, the fused network",
    "unfused": "The network that was not fused",
}


def _observer(name: str, **settings: Any) -> Calibrated:
    """Return one observer for every tensor, without the search for ranges by predictions."""
    return Calibrated(replace(ONE_OBSERVER, defaults=LayerSettings(observer=name, **settings)))


def _default(**settings: Any) -> Calibrated:
    """Return a configuration with one observer for all tensors, and other settings of its layers."""
    return Calibrated(replace(ONE_OBSERVER, defaults=LayerSettings(**settings)))


# One observer for all tensors, so that a row shows the effect of one setting.
ONE_OBSERVER = QuantConfig(ranges_by_answers=False, bias_correction=False)


def _settings(mode: str) -> QatSettings:
    return QatSettings(mode=mode)


METHODS: tuple[Method, ...] = (
    Method("default (ranges by answers)", "calibrated", Calibrated(), goal="calibrated"),
    Method(
        "default, equalization, bias correction",
        "calibrated",
        Calibrated(QuantConfig(equalize=True, bias_correction=True)),
    ),
    Method("QAT fused", "trained", Trained(_settings("fused")), goal="trained"),
    Method("QAT reparam", "trained", Trained(_settings("reparam")), goal="trained"),
    Method(FLOAT_TRAINED, "float", FloatTrained(_settings("fused"))),
    Method("min-max", "calibrated", _observer("min_max")),
    Method("moving average", "calibrated", _observer("moving_average")),
    Method("percentile 99.9", "calibrated", _observer("percentile", percentile=99.9)),
    Method("percentile 99.99", "calibrated", _observer("percentile", percentile=99.99)),
    Method("percentile 99.999", "calibrated", _observer("percentile", percentile=99.999)),
    Method("entropy", "calibrated", _observer("entropy")),
    Method("mean square error", "calibrated", _observer("mse")),
    Method("int32 depthwise sums", "calibrated", _default(depthwise_accumulator="int32")),
    Method("equalization", "calibrated", Calibrated(replace(ONE_OBSERVER, equalize=True))),
    Method("bias correction", "calibrated", Calibrated(replace(ONE_OBSERVER, bias_correction=True))),
    Method("weights by least squares", "calibrated", _default(weight_range="mse")),
    Method("learned rounding", "calibrated", Calibrated(replace(ONE_OBSERVER, learned_rounding=True))),
    Method("auto, at most 0.3 points", "calibrated", Calibrated(max_drop=0.3)),
    Method("symmetric (policy tensorrt)", "calibrated", Calibrated(replace(ONE_OBSERVER, policy="tensorrt"))),
    Method("ONNX Runtime min-max", "other", Foreign("onnxruntime", {"method": "MinMax"})),
    Method("ONNX Runtime min-max symmetric", "other", Foreign("onnxruntime", {"method": "MinMax", "symmetric": True})),
    Method("ONNX Runtime percentile", "other", Foreign("onnxruntime", {"method": "Percentile"})),
    Method("ONNX Runtime entropy", "other", Foreign("onnxruntime", {"method": "Entropy"})),
    Method("ONNX Runtime per tensor", "other", Foreign("onnxruntime", {"method": "MinMax", "per_channel": False})),
    Method("NNCF", "other", Foreign("nncf", {"preset": "performance"})),
    Method("NNCF mixed", "other", Foreign("nncf", {"preset": "mixed"})),
    Method("ModelOpt max", "other", Foreign("modelopt", {"method": "max"})),
    Method("ModelOpt entropy", "other", Foreign("modelopt", {"method": "entropy"})),
    Method("ONNX Runtime, batch norms folded", "unfused", Foreign("onnxruntime", {"method": "MinMax"}, UNFUSED)),
    Method(
        "ONNX Runtime, as exported", "unfused", Foreign("onnxruntime", {"method": "MinMax", "fold": False}, UNFUSED)
    ),
)  # fmt: skip


def choose_methods(patterns: tuple[str, ...]) -> tuple[Method, ...]:
    """Return the rows whose name matches one of the patterns, all of them for none.

    Raises:
        UsageError: for a pattern that matches no row.
    """
    if not patterns:
        return METHODS
    names = [method.name for method in METHODS]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise unknown_value("method", pattern, names)
    return tuple(method for method in METHODS if any(fnmatchcase(method.name, pattern) for pattern in patterns))
