"""The gate: whether int8 keeps as much accuracy as was asked for."""

from __future__ import annotations

from compile.summary.facts import Method, Network, Summary
from compile.summary.tables import points


def gate_sentences(summary: Summary) -> tuple[list[str], list[str]]:
    """Return what is said of networks that keep enough, and of those that do not.

    A network is judged by the best of its methods: whoever ships it takes that one. One whose change was not measured
    keeps nothing that is known, so it does not pass.
    """
    if summary.max_drop is None:
        return [], []
    passed, missed = [], []
    for network in summary.networks:
        name = f"{network.model} on {network.data}"
        best = _best(network)
        if best is None or best.change is None:
            missed.append(f"{name}: the change from float32 to int8 was not measured.")
            continue
        sentence = f"{name}: int8 ({best.name}) changes top-1 by {points(best.change.difference)} points"
        if -100 * best.change.difference <= summary.max_drop:
            passed.append(f"{sentence}; a drop of {summary.max_drop:g} was allowed.")
        else:
            missed.append(f"{sentence}, but a drop of at most {summary.max_drop:g} was allowed: do not ship it.")
    return passed, missed


def _best(network: Network) -> Method | None:
    measured = [method for method in network.methods if method.change is not None]
    return max(measured, key=lambda method: method.change.difference if method.change else 0.0, default=None)
