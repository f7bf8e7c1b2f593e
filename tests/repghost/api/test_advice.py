"""Which build for a board: the widest that surely stays below a budget, and what it is known by."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import repghost
from compile.cycles.boards import BOARDS, find_board
from compile.cycles.widths import Figure, best_of, figures
from compile.summary.board_advice import SHOWN, choose, how_known, int8_shares, precision_words
from repghost.cli import cli
from repghost.errors import UsageError


def figure(model: str, precision: str, ms: float, kind: str = "estimated") -> Figure:
    return Figure(f"repghostnet_{model}x", 224, precision, "neon", kind, ms, ms * 0.8, ms * 1.25)  # type: ignore[arg-type]


FIGURES = [figure("0_5", "int8", 8.0), figure("0_5", "fp32", 12.0), figure("1_0", "int8", 24.0),
           figure("1_0", "fp32", 20.0)]  # fmt: skip


def test_the_widest_that_surely_fits_is_taken() -> None:
    for budget, expected in ((9.9, None), (10, "repghostnet_0_5x"), (24, "repghostnet_0_5x"), (25, "repghostnet_1_0x")):
        taken = choose(FIGURES, budget)
        assert (taken and taken.model) == expected, budget
    taken = choose(FIGURES, 100)
    assert taken is not None and (taken.model, taken.precision) == ("repghostnet_1_0x", "fp32"), "the faster precision"


def test_a_precision_follows_from_times_alone() -> None:
    assert int8_shares(FIGURES) == {"repghostnet_0_5x": pytest.approx(2 / 3), "repghostnet_1_0x": pytest.approx(1.2)}
    assert precision_words(FIGURES).startswith("by width (int8 takes 0.67 to 1.20")
    assert precision_words(FIGURES[:2]).startswith("int8 (") and precision_words(FIGURES[2:]).startswith("float (")
    assert precision_words(FIGURES[:1]) == ""


def test_a_measured_time_stands_before_every_estimate() -> None:
    slower = figure("0_5", "int8", 99.0, "measured")
    assert slower in best_of([*FIGURES, slower]) and FIGURES[0] not in best_of([*FIGURES, slower])
    pi, zero = BOARDS["raspberry-pi-4"], BOARDS["raspberry-pi-zero-2"]
    assert how_known(pi, [slower]) == "measured" and how_known(pi, [*FIGURES, slower]).startswith("partly measured")
    assert "by the fit of Raspberry Pi 3 B+" in how_known(zero, FIGURES) and "% off" in how_known(pi, FIGURES)


@pytest.mark.parametrize("name", SHOWN)
def test_every_board_of_the_table_is_advised_on(name: str) -> None:
    board = BOARDS[name]
    found = repghost.advise(board.short or name, ms=1000)
    assert found.values["board"] == name and found.width == 2.0 and found.precision == "int8"
    assert {it["precision"] for it in found.values["builds"]} >= {"int8", "fp32"} and len(figures(board, 224)) >= 16
    assert f"{board.label}: {board.processor}" in repr(found)


def test_a_board_that_is_like_another_differs_by_its_clock() -> None:
    times = [
        {it.model: it.ms for it in figures(BOARDS[name], 224) if it.precision == "int8"}
        for name in ("raspberry-pi-3", "raspberry-pi-zero-2")
    ]
    ratios = [times[1][model] / times[0][model] for model in times[0]]
    assert all(1.3 < ratio < 1.4 for ratio in ratios), "1.4 GHz against 1.0, but for memory"


def test_the_command_answers_as_the_function_does() -> None:
    done = CliRunner().invoke(cli, ["advise", "--board", "pi4", "--ms", "30"])
    assert done.exit_code == 0 and done.output.rstrip("\n") == repr(repghost.advise("pi4", ms=30)).rstrip("\n")
    assert "under 30 ms take" in done.output and "estimated" in done.output and "docs/boards-model.md" in done.output
    assert "no width surely stays under 1 ms" in repr(repghost.advise("pi3", ms=1))
    done = CliRunner().invoke(cli, ["advise", "--board", "pie4", "--ms", "30"])
    assert done.exit_code == 2 and "Did you mean 'pi4'?" in done.output
    with pytest.raises(UsageError, match="milliseconds above 0"):
        repghost.advise("pi4", ms=float("nan"))
    with pytest.raises(UsageError, match="unknown size"):
        repghost.advise("pi4", size=100)
    assert find_board("raspberry-pi-4") is find_board("pi4")
