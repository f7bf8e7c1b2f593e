"""Milliseconds of boards: the arithmetic, the range, and that every board of the table has a fit that was made."""

from __future__ import annotations

import pytest

from compile.cycles.boards import (
    BOARDS,
    Board,
    Fit,
    digits,
    estimate,
    estimated_ms,
    estimates,
    read_fits,
    significant,
)
from compile.cycles.cores import CORES
from compile.cycles.widths import Figure

BOARD = Board("a-board", "A board", "Cortex-A72", "cortex-a72", 2.0, 1 << 20)


def test_milliseconds_are_cycles_over_the_clock_and_lines_of_memory() -> None:
    fit = Fit(1.5, 10.0, -0.2, 0.25)
    # 1.5 x 8 M cycles at 2 GHz are 6 ms; 100,000 lines of 10 ns are 1 ms.
    assert estimated_ms(BOARD, fit, 8e6, {1 << 20: 100_000}) == pytest.approx(7.0)


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_every_board_is_estimated_with_a_range(board: Board) -> None:
    fit = read_fits()[board.name]
    assert board.core in CORES and fit.scale > 0.4 and fit.lowest < 0 < fit.highest < 1
    misses = {board.cache_bytes: 0}
    found = estimate(board, {board.core: 1e6 * board.clock_ghz}, misses)
    assert found is not None and found.ms == pytest.approx(fit.scale)
    assert found.low == pytest.approx(found.ms / (1 + fit.highest)) and found.low < found.ms < found.high


def test_what_is_not_known_is_not_estimated() -> None:
    board = BOARDS["raspberry-pi-4"]
    misses = {board.cache_bytes: 0}
    assert estimate(board, {"cortex-a76": 1e6}, misses) is None  # the code of another core
    assert estimate(board, {board.core: 1e6}, {}) is None  # a count of before
    assert estimate(BOARD, {BOARD.core: 1e6}, misses) is None  # no published time
    assert estimates({"modelled_cycles": {}, "total": 1}) == []


def test_an_estimate_has_the_digits_that_it_deserves() -> None:
    board = BOARDS["raspberry-pi-4"]
    fit = read_fits()[board.name]
    cycles = 12.34e6 * board.clock_ghz / fit.scale
    found = estimate(board, {board.core: cycles}, {board.cache_bytes: 0})
    assert str(found).startswith("12 (") and "12.3" not in str(found)


def test_a_number_has_no_exponent() -> None:
    assert [digits(ms) for ms in (99.4, 99.7, 1234.0)] == ["99", "100", "1230"]
    assert [significant(ms, 3) for ms in (0.05142, 8.25, 7.0, 1234.5)] == ["0.0514", "8.25", "7", "1230"]
    slow = Figure("repghostnet_2_0x", 224, "fp32", "neon", "measured", 1234.5, 1200.0, 1300.0)
    assert (slow.short, str(slow)) == ("1230", "measured 1230")
