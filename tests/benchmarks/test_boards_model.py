"""The comparison with published times: the fit, what is judged, and that page and fit are those of the JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.board_fits import Row, Run, evaluate_fit, evaluate_runs, family, fitted_families, least_squares
from benchmarks.boards_model import FILE, PAGE, RUNS
from benchmarks.pages.boards import GOAL_PROCESSORS, LIMIT, evaluated_runs, fitted_boards, render_boards
from compile.cycles.boards import BOARDS, FITTED, Board, Fit, estimated_ms
from tests.support import ROOT

BOARD = Board("a-board", "A board", "Cortex-A72", "cortex-a72", 2.0, 1 << 20)
TRUE = Fit(1.5, 10.0, 0.0, 0.0)
NETWORKS = ("a", "a_int8", "b", "b_int8", "c", "c_int8", "d", "d_int8")


def made_run(noise: float = 0.0, board: Board = BOARD, fit: Fit = TRUE) -> Run:
    """Return a run whose times are those of a fit, but for noise."""
    random = np.random.default_rng(0)
    rows = []
    for index, network in enumerate(NETWORKS):
        misses = {1 << 20: int(random.integers(1, 10) * 1e4)}
        cycles = float(random.integers(1, 50) * 1e6)
        ms = estimated_ms(board, fit, cycles, misses) * (1 + noise * (-1) ** index)
        rows.append(Row(network, ms, cycles, misses, family(network) in fitted_families(NETWORKS)))
    return Run("run", board, tuple(rows))


def test_numbers_that_made_the_times_are_found_again() -> None:
    (evaluated,) = evaluate_runs([made_run()])
    assert evaluated.fit == replace(TRUE, lowest=pytest.approx(0, abs=1e-3), highest=pytest.approx(0, abs=1e-3))
    assert evaluated.held_out().max() < 1e-3 and len(evaluated.held_out()) == 4 and evaluated.rank_correlation() == 1.0
    assert not evaluated.wrong_orders and evaluated.orders > 0


def test_boards_of_one_processor_share_what_a_cycle_takes_and_not_what_memory_takes() -> None:
    other = replace(BOARD, name="other", clock_ghz=1.0)
    first, second = evaluate_runs([made_run(), made_run(board=other, fit=replace(TRUE, far_ns=30.0))])
    assert first.fit.scale == second.fit.scale == pytest.approx(1.5, abs=0.01)
    assert (first.fit.far_ns, second.fit.far_ns) == (pytest.approx(10.0, abs=0.01), pytest.approx(30.0, abs=0.01))


def test_an_int8_network_goes_with_its_float_one_and_every_second_family_is_held_out() -> None:
    assert fitted_families(NETWORKS) == {"a", "c"} and family("resnet18_int8") == "resnet18"


def test_no_number_is_below_zero_where_the_least_squares_would_be() -> None:
    matrix = np.array([[1.0, 1.0], [0.5, 1.0], [0.9, 0.2]])
    assert np.linalg.lstsq(matrix, np.ones(3), rcond=None)[0][1] > 0
    worse = np.array([[1.0, 1.0], [0.9, 3.0], [0.8, -1.0]])
    assert np.linalg.lstsq(worse, np.ones(3), rcond=None)[0][1] < 0
    found = least_squares(worse)
    assert found[1] == 0 and found[0] == pytest.approx(float(worse[:, 0].sum() / (worse[:, 0] ** 2).sum()))
    assert least_squares(np.eye(3)) == pytest.approx([1, 1, 1])
    assert least_squares(-np.eye(2)) == pytest.approx([0, 0])


def test_a_wrong_order_is_named() -> None:
    def row(network: str, published_ms: float, cycles: float) -> Row:
        return Row(network, published_ms, cycles, {1 << 20: 0}, True)

    rows = (row("a", 10, 2e7), row("a_int8", 8, 1e7), row("b", 10, 1e7), row("b_int8", 8, 2e7), row("c", 9, 1e7),
            row("c_int8", 8.5, 2e7), row("d", 9, 1e7))  # fmt: skip
    evaluated = evaluate_fit(Run("run", BOARD, rows), Fit(1.0, 0.0, 0.0, 0.0))
    assert (evaluated.orders, evaluated.wrong_orders) == (2, ("b",))  # c differs by less than a tenth, d has no int8


def test_the_committed_page_and_fit_are_those_of_the_committed_json() -> None:
    value = json.loads((ROOT / "docs" / FILE).read_text())
    assert (ROOT / "docs" / PAGE).read_text() == render_boards(value)
    assert json.loads(FITTED.read_text())["boards"] == json.loads(json.dumps(fitted_boards(value)))
    own = {board.name for board in BOARDS.values() if not board.like}
    assert set(fitted_boards(value)) == own and {run["line"] for run in value["runs"]} == set(RUNS)


def test_the_model_is_within_its_limit_on_networks_that_it_did_not_see() -> None:
    evaluated = evaluated_runs(json.loads((ROOT / "docs" / FILE).read_text()))
    for processor in GOAL_PROCESSORS:
        medians = [float(np.median(it.held_out())) for _, _, it in evaluated if it.run.board.processor == processor]
        assert medians and max(medians) <= LIMIT, processor
