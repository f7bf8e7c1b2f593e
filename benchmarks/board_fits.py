"""How well modelled cycles predict published milliseconds: fitted on half of the networks, evaluated on the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compile.cycles.boards import Board, Fit, estimated_ms

INT8 = "_int8"
DIFFERENT = 0.1  # int8 and float times that differ by more have an order
NOTHING = Fit(0, 0, 0, 0)


@dataclass(frozen=True)
class Row:
    """One network in one published run.

    Attributes:
        network: its name.
        published_ms: measured by others.
        cycles: modelled for the core.
        misses: lines by the size of the cache.
        fitted: whether the fit saw it.
    """

    network: str
    published_ms: float
    cycles: float
    misses: Mapping[int, int]
    fitted: bool


@dataclass(frozen=True)
class Run:
    """A published run of a board."""

    name: str
    board: Board
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class FitErrors:
    """A run, its fit and the errors, estimate / published - 1, by network.

    Attributes:
        orders: how many networks have int8 and float times that differ.
        wrong_orders: those whose int8 is published as faster and estimated as slower, or the reverse.
    """

    run: Run
    fit: Fit
    errors: Mapping[str, float]
    orders: int
    wrong_orders: tuple[str, ...]

    def held_out(self) -> NDArray[np.float64]:
        """Return the absolute errors of the networks that the fit did not see."""
        return np.array([abs(self.errors[row.network]) for row in self.run.rows if not row.fitted])

    def rank_correlation(self) -> float:
        """Return Spearman's correlation of published and estimated times over all networks."""
        published = np.array([row.published_ms for row in self.run.rows])
        estimated = published * (1 + np.array([self.errors[row.network] for row in self.run.rows]))
        first, second = (np.argsort(np.argsort(times)).astype(float) for times in (published, estimated))
        return float(np.corrcoef(first, second)[0, 1])


def family(network: str) -> str:
    """Return the name of a network without what says that it is int8."""
    return network.removesuffix(INT8)


def fitted_families(networks: Iterable[str]) -> frozenset[str]:
    """Return every second family of networks by name, so that nobody chose; an int8 network goes with its float one."""
    return frozenset(sorted({family(name) for name in networks})[::2])


def evaluate_runs(runs: Sequence[Run]) -> list[FitErrors]:
    """Return each run with its fit: a cycle costs the same on all boards of a processor, memory is each run's own."""
    evaluated = []
    for processor in dict.fromkeys(run.board.processor for run in runs):
        own = [run for run in runs if run.board.processor == processor]
        evaluated += [evaluate_fit(run, fit) for run, fit in zip(own, fit_processor(own), strict=True)]
    return evaluated


def fit_processor(runs: Sequence[Run]) -> list[Fit]:
    """Return the fit of each run of one processor, by the least squares of relative errors; no number is below 0."""
    lines, unknowns = [], 1 + len(runs)
    for number, run in enumerate(runs):
        for row in run.rows:
            if row.fitted:
                line = np.zeros(unknowns)
                line[[0, 1 + number]] = _parts(run.board, row)
                lines.append(line)
    scale, *far = (round(float(value), 4) for value in least_squares(np.stack(lines)))
    return [Fit(scale, own, 0.0, 0.0) for own in far]


def _parts(board: Board, row: Row) -> list[float]:
    """Return what one unit of each of the fit's two numbers takes, as a share of the published time."""
    units = (replace(NOTHING, scale=1), replace(NOTHING, far_ns=1))
    return [estimated_ms(board, unit, row.cycles, row.misses) / row.published_ms for unit in units]


def least_squares(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector without negative numbers whose product with a matrix is nearest to ones.

    The active-set method of Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23: a number enters
    where the error falls most, and leaves where it would be negative.
    """
    rows, unknowns = matrix.shape
    ones, found, inside = np.ones(rows), np.zeros(unknowns), np.zeros(unknowns, bool)
    for _ in range(10 * unknowns):
        gradient = np.where(inside, -np.inf, matrix.T @ (ones - matrix @ found))
        if inside.all() or gradient.max() <= 1e-9:
            break
        inside[gradient.argmax()] = True
        while inside.any():
            trial = np.zeros(unknowns)
            trial[inside] = np.linalg.lstsq(matrix[:, inside], ones, rcond=None)[0]
            if (trial[inside] > 0).all():
                found = trial
                break
            below = inside & (trial <= 0)
            step = float(np.min(found[below] / (found[below] - trial[below])))
            found = found + step * (trial - found)
            inside &= found > 1e-12
    return found


def evaluate_fit(run: Run, fit: Fit) -> FitErrors:
    """Return a run with the errors of a fit."""
    errors = {
        row.network: estimated_ms(run.board, fit, row.cycles, row.misses) / row.published_ms - 1 for row in run.rows
    }
    ranged = replace(fit, lowest=round(min(errors.values()), 4), highest=round(max(errors.values()), 4))
    published = {row.network: row.published_ms for row in run.rows}
    orders, wrong = [], []
    for network, ms in published.items():
        int8 = network + INT8
        if int8 in published and abs(published[int8] / ms - 1) > DIFFERENT:
            orders.append(network)
            estimated = [published[name] * (1 + errors[name]) for name in (network, int8)]
            if (published[int8] < ms) != (estimated[1] < estimated[0]):
                wrong.append(network)
    return FitErrors(run, ranged, errors, len(orders), tuple(wrong))
