"""The gate: whether int8 keeps as much accuracy as was asked for."""

from __future__ import annotations

from compile.summary.facts import Method, Summary
from compile.summary.tables import first_method, points


def gate_sentences(summary: Summary) -> tuple[list[str], list[str]]:
    """Return what is said of networks that keep enough, and of those that do not.

    A network is rated by its default calibration, and by its default training where calibration loses too much: the
    best of many methods on their own test images would be chosen by luck. One whose change was not measured
    keeps nothing that is known, so it does not pass.
    """
    if summary.max_drop is None:
        return [], []
    passed, missed = [], []
    for network in summary.networks:
        name = f"{network.model} on {network.data}"
        methods = [it for it in (first_method(network, "ptq"), first_method(network, "qat")) if it and it.change]
        if not methods:
            missed.append(f"{name}: the change from float32 to int8 was not measured.")
            continue
        method = next((method for method in methods if _drop(method) <= summary.max_drop), methods[-1])
        sentence = f"{name}: int8 ({method.name}) changes top-1 by {points(-_drop(method) / 100)} points"
        if _drop(method) <= summary.max_drop:
            passed.append(f"{sentence}; a drop of {summary.max_drop:g} was allowed.")
        else:
            missed.append(f"{sentence}, but a drop of at most {summary.max_drop:g} was allowed: do not ship it.")
    return passed, missed


def gate_in_one(summary: Summary) -> str:
    """Return in one sentence what int8 by default changes over all networks, and how many keep what was asked for."""
    methods = [it for network in summary.networks if (it := first_method(network, "ptq")) and it.change]
    if not methods:
        return ""
    drops = sorted(map(_drop, methods))
    span = " to ".join(dict.fromkeys(points(-drop / 100) for drop in (drops[-1], drops[0])))
    said = f"By default calibration int8 changes top-1 by {span} points"
    if summary.max_drop is None:
        return f"{said}, over {len(drops)} network{'s' * (len(drops) > 1)}."
    kept = sum(drop <= summary.max_drop for drop in drops)
    return f"{said}: {kept} of {len(drops)} networks lose at most the {summary.max_drop:g} points that were allowed."


def _drop(method: Method) -> float:
    """Return the points of top-1 that a method loses; its change was measured."""
    assert method.change is not None
    return -100 * method.change.difference
