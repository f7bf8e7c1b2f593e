"""Modelled cycles of stretches of execution: the price of every block times how often it ran. Caches are left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compile.cycles.cores import cores_running
from compile.cycles.llvm import Llvm
from compile.cycles.price import Price, price_blocks
from compile.cycles.stretch import Stretch
from compile.storage.stage_cache import StageCache

RESULTS = "results"  # waiting for results of earlier instructions, loads among them


@dataclass(frozen=True)
class Cycles:
    """Modelled cycles of a stretch on one core.

    Attributes:
        total: all of them.
        spent_on: their parts: by the unit that bounds each block, "issue" where that is the width of the core, and
            RESULTS for what goes beyond the bound.
    """

    total: float
    spent_on: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        parts = sorted(self.spent_on.items(), key=lambda item: -item[1])
        return {"cycles": round(self.total, 1), "spent_on": {what: round(cycles, 1) for what, cycles in parts}}


Modelled = dict[str, Cycles]  # by the name of the core


def model_cycles(stretches: Sequence[Stretch], code: str | None, llvm: Llvm, cache: StageCache) -> list[Modelled]:
    """Return the modelled cycles of every stretch, on every core that runs this code.

    Args:
        stretches: of one program.
        code: the emulated core it was counted on; None: its code is the same on every core.
        llvm: from `compile.cycles.llvm.fetch_llvm`.
        cache: keeps prices.
    """
    blocks = {words for stretch in stretches for _, words in stretch.blocks}
    modelled: list[Modelled] = [{} for _ in stretches]
    for core in cores_running(code):
        prices = price_blocks(blocks, core, llvm, cache)
        for stretch, cycles in zip(stretches, modelled, strict=True):
            cycles[core.name] = price_stretch(stretch, prices)
    return modelled


def price_stretch(stretch: Stretch, prices: Mapping[str, Price]) -> Cycles:
    """Return the cycles of a stretch from the prices of its blocks."""
    spent: defaultdict[str, float] = defaultdict(float)
    total = 0.0
    for runs, words in stretch.blocks:
        price = prices[words]
        bound = min(price.bound, price.cycles)
        total += runs * price.cycles
        spent[price.unit] += runs * bound
        spent[RESULTS] += runs * (price.cycles - bound)
    return Cycles(total, dict(spent))
