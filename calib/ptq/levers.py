"""The levers of a search: changes of the settings that may lose less accuracy, in order of what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from calib.ptq.blocks import Block
from calib.settings.config import QuantConfig
from repghost.graph.operators import Graph


@dataclass(frozen=True)
class Lever:
    """A change of the settings that may lose less accuracy.

    Attributes:
        name: as the table calls it.
        cost: what it takes, in words.
        change: from the user's settings to those of the trial.
    """

    name: str
    cost: str
    change: Callable[[QuantConfig], QuantConfig]


def _int32(config: QuantConfig) -> QuantConfig:
    return replace(config, defaults=replace(config.defaults, depthwise_accumulator="int32"), ranges_by_answers=True)


LEVERS: tuple[Lever, ...] = (
    Lever("the settings as given", "nothing", lambda config: config),
    Lever("ranges by answers", "seconds", lambda config: replace(config, ranges_by_answers=True)),
    Lever(
        "and bias correction",
        "seconds",
        lambda config: replace(config, ranges_by_answers=True, bias_correction=True),
    ),
    Lever(
        "and equalization, weight scales by least squares",
        "seconds",
        lambda config: replace(
            config,
            ranges_by_answers=True,
            bias_correction=True,
            equalize=True,
            defaults=replace(config.defaults, weight_range="mse"),
        ),
    ),
    Lever(
        "ranges by answers and learned rounding",
        "minutes",
        lambda config: replace(config, ranges_by_answers=True, learned_rounding=True),
    ),
    Lever("ranges by answers and int32 depthwise accumulators", "seconds; slower depthwise kernels", _int32),
)


def patterns_of(graph: Graph, block: Block) -> tuple[str, ...]:
    """Return the patterns of a config that match a block's operators alone: one where its name begins theirs."""
    inside = {op.name for op in block.operators}
    alike = {name for name in graph.names() if name.startswith(f"{block.name}.")}
    return (f"{block.name}.*",) if alike == inside else tuple(op.name for op in block.operators)


def in_16_bits(names: Sequence[str]) -> Callable[[QuantConfig], QuantConfig]:
    """Return the change of a lever that has layers read 16 bits."""
    entries = tuple((name, (("activations", "int16"),)) for name in names)
    return lambda config: replace(config, ranges_by_answers=True, layers=(*config.layers, *entries))


def in_float(patterns: Sequence[str]) -> Callable[[QuantConfig], QuantConfig]:
    """Return the change of a lever that leaves layers in float."""
    entries = tuple((pattern, None) for pattern in patterns)
    return lambda config: replace(config, ranges_by_answers=True, layers=(*config.layers, *entries))
