"""Boards whose milliseconds are estimated: modelled cycles over the clock, plus memory; fitted to published times.

fitted.json is written by `python -m benchmarks.boards_model`, which compares every estimate with what was published.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from repghost.errors import unknown_value

FITTED = Path(__file__).with_name("fitted.json")
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Board:
    """A core of a board, at the clock that published times name.

    Attributes:
        name: in options and files.
        label: in tables.
        processor: its core; boards with the same one are fitted together.
        core: the row of `compile.cycles.cores.CORES` that prices its code.
        clock_ghz: of that core.
        cache_bytes: of the last cache before memory that this core uses, as far as the counter tells sizes apart.
        known_as: what the kernel of the board calls it (/proc/device-tree/model), as a part of that text; "" where
            several boards share the chip.
        chip: the last name of its device tree (/proc/device-tree/compatible); "" where it is not known.
        cluster: "big" or "little" on a chip with cores of two kinds.
        short: its name for people in a hurry; "" where nobody has another one.
        like: the board whose fit tells its times, because nobody published times of its own; "" for its own fit.
    """

    name: str
    label: str
    processor: str
    core: str
    clock_ghz: float
    cache_bytes: int
    known_as: str = ""
    chip: str = ""
    cluster: str = ""
    short: str = ""
    like: str = ""

    def is_machine(self, name: str) -> bool:
        """Tell whether a measurement on a machine of this name is one of this board.

        Args:
            name: as `compile.deploy.measure.core` writes it, the chip in brackets, cores that were chosen at the end.
        """
        if not (self.known_as and self.known_as in name) and not (self.chip and f"[{self.chip}]" in name):
            return False
        pinned = re.search(r", cores ([0-9,-]+)$", name)
        little = pinned is not None and max(map(int, re.findall(r"[0-9]+", pinned[1]))) < LITTLE_CORES
        return self.cluster in ("", "little" if little else "big")


def chip(name: str, cluster: str = "", short: str = "") -> dict[str, str]:
    """Return how a chip of Rockchip is recognised and called."""
    return {"chip": f"rockchip,{name}", "cluster": cluster, "short": short}


LITTLE_CORES = 4  # they come first on RK3399 and RK3588; without a choice the kernel takes the others for what is busy
# Caches: data sheets of the processors; that of the AX630C is a guess. Cortex-A73, A78AE, A720 and X4 have no model of
# their own in LLVM 19: each is priced by its nearest, and the fit to its own published times scales it.
A53, A55, A72, A73, A76 = "Cortex-A53", "Cortex-A55", "Cortex-A72", "Cortex-A73", "Cortex-A76"
# Those with a `like` have a core that was fitted elsewhere, at another clock: their range is that of the other board.
BOARDS = {
    board.name: board
    for board in (
        Board("raspberry-pi-zero-2", "Raspberry Pi Zero 2 W", A53, "cortex-a53", 1.0, MEBIBYTE // 2,
              "Raspberry Pi Zero 2", short="zero2", like="raspberry-pi-3"),
        Board("raspberry-pi-3", "Raspberry Pi 3 B+", A53, "cortex-a53", 1.4, MEBIBYTE // 2, "Raspberry Pi 3",
              short="pi3"),
        Board("raspberry-pi-4", "Raspberry Pi 4", A72, "cortex-a72", 1.8, MEBIBYTE, "Raspberry Pi 4", short="pi4"),
        Board("raspberry-pi-5", "Raspberry Pi 5", A76, "cortex-a76", 2.4, 2 * MEBIBYTE, "Raspberry Pi 5", short="pi5"),
        Board("rk3399-big", "RK3399, Cortex-A72", A72, "cortex-a72", 1.8, MEBIBYTE, **chip("rk3399", "big", "rk3399")),
        Board("rk3399-little", "RK3399, Cortex-A53", A53, "cortex-a53", 1.5, MEBIBYTE // 2, **chip("rk3399", "little")),
        Board("rk3566", "RK3566", A55, "cortex-a55", 1.8, MEBIBYTE // 2, **chip("rk3566")),
        Board("rk3568", "RK3568", A55, "cortex-a55", 2.0, MEBIBYTE // 2, **chip("rk3568")),
        Board("rk3588-big", "RK3588, Cortex-A76", A76, "cortex-a76", 2.4, 2 * MEBIBYTE,
              **chip("rk3588", "big", "rk3588")),
        Board("rk3588-little", "RK3588, Cortex-A55", A55, "cortex-a55", 1.8, 2 * MEBIBYTE, **chip("rk3588", "little")),
        Board("imx8m", "i.MX 8M Mini", A53, "cortex-a53", 1.8, MEBIBYTE // 2, chip="fsl,imx8mm", like="rk3399-little"),
        Board("khadas-vim3", "Khadas VIM3", A73, "cortex-a72", 2.2, MEBIBYTE, "Khadas VIM3", short="vim3"),
        Board("rk3228h", "RK3228H", A53, "cortex-a53", 1.3, MEBIBYTE // 4),
        Board("ax630c", "AX630C", A53, "cortex-a53", 1.2, MEBIBYTE // 4),
        Board("jetson-orin-nano", "Jetson Orin Nano, CPU", "Cortex-A78AE", "cortex-a76", 1.5, 4 * MEBIBYTE, "Orin Nano",
              short="orin-nano"),
        Board("macbook-m1", "MacBook Pro M1", "Apple M1", "apple-m1", 3.2, 8 * MEBIBYTE, short="m1"),
        Board("orion-o6", "Radxa Orion O6", "Cortex-A720", "cortex-a710", 2.6, 8 * MEBIBYTE, "Orion O6"),
        Board("dimensity-9300", "Dimensity 9300", "Cortex-X4", "cortex-a710", 3.25, 8 * MEBIBYTE, short="phone-x4"),
        Board("phone-a78", "Phone, Cortex-A78", "Cortex-A78", "cortex-a76", 2.4, 2 * MEBIBYTE, like="jetson-orin-nano"),
        Board("phone-a76", "Phone, Cortex-A76", A76, "cortex-a76", 2.2, 2 * MEBIBYTE, like="rk3588-big"),
        Board("phone-a73", "Phone, Cortex-A73", A73, "cortex-a72", 2.0, MEBIBYTE, like="khadas-vim3"),
        Board("phone-a55", "Phone, Cortex-A55", A55, "cortex-a55", 1.6, MEBIBYTE // 2, like="rk3566"),
    )
}  # fmt: skip


def find_board(name: str) -> Board:
    """Return the row of a board by its name or its short one.

    Raises:
        UsageError: when there is none.
    """
    known = {board.short or board.name: board for board in BOARDS.values()}
    found = known.get(name) or BOARDS.get(name)
    if found is None:
        raise unknown_value("board", name, known)
    return found


def board_of(machine: str) -> Board | None:
    """Return the row of the board that a measured machine is, see `Board.is_machine`; None for one that is none."""
    return next((board for board in BOARDS.values() if board.is_machine(machine)), None)


@dataclass(frozen=True)
class Fit:
    """What published times say of a board.

    Attributes:
        scale: measured cycles for each modelled one.
        far_ns: nanoseconds for each 64-byte line that is in no cache: 64 / far_ns is the bandwidth in GB/s.
        lowest: the least of estimate / measured - 1 over all networks.
        highest: the largest.
    """

    scale: float
    far_ns: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Estimate:
    """Milliseconds of one inference on one thread: no machine ran it.

    `low` and `high` are what it would be with the largest errors that were seen on this board.
    """

    ms: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{digits(self.ms)} ({digits(self.low)} to {digits(self.high)})"


@cache
def read_fits() -> Mapping[str, Fit]:
    """Return what is known of each board, from its own published times or from those of the board it is like."""
    own = {name: Fit(**values) for name, values in json.loads(FITTED.read_text())["boards"].items()}
    return own | {board.name: own[board.like] for board in BOARDS.values() if board.like}


def estimated_ms(board: Board, fit: Fit, cycles: float, misses: Mapping[int, int]) -> float:
    """Return the milliseconds of a stretch of execution.

    Args:
        board: what runs it.
        fit: of this board.
        cycles: modelled for its core.
        misses: lines that caches of so many bytes lack, see `compile.cycles.stretch.Stretch`.
    """
    return (fit.scale * cycles / board.clock_ghz + fit.far_ns * misses[board.cache_bytes]) / 1e6


def estimate(board: Board, cycles: Mapping[str, float], misses: Mapping[int, int]) -> Estimate | None:
    """Return the estimated milliseconds on a board, with their range; None where that is not known.

    Args:
        board: a row of the table.
        cycles: modelled ones by core.
        misses: as for `estimated_ms`.
    """
    fit = read_fits().get(board.name)
    if fit is None or board.core not in cycles or board.cache_bytes not in misses:
        return None
    ms = estimated_ms(board, fit, cycles[board.core], misses)
    return Estimate(ms, ms / (1 + fit.highest), ms / (1 + fit.lowest))


def estimates(counted: Mapping[str, Any]) -> list[tuple[Board, Estimate]]:
    """Return every board whose core runs what was counted, with its milliseconds.

    Args:
        counted: JSON as `compile.bench.count.Counted.to_dict` gives it.
    """
    misses = {int(size): int(lines) for size, lines in counted.get("lines_missed", {}).items()}
    found = [(board, estimate(board, counted["modelled_cycles"], misses)) for board in BOARDS.values()]
    return [(board, ms) for board, ms in found if ms is not None]


def digits(ms: float) -> str:
    """Return milliseconds with two significant digits, e.g. "0.85", "8.5", "85", "850"."""
    return significant(ms, 2) if ms < 100 else f"{round(ms, -1):.0f}"


def significant(value: float, count: int) -> str:
    """Return a number with so many significant digits, written without an exponent, e.g. 99.7 with two as "100"."""
    return f"{Decimal(f'{value:.{count}g}'):f}"
