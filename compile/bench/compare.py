"""A bundle against other runtimes on this machine: in one run, turn by turn, so that all of them meet the same load."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.bench.peers import Form, Limit, Peer
from compile.bench.prepare_inputs import Prepared, our_logits
from compile.bench.processes import Contender, logits_of, peer_name, start_ours, start_peer
from compile.bench.statistics import Times, agreement, is_narrow, paired_ratio
from compile.bundle.host_model import load
from compile.bundle.manifest import Bundle
from compile.machine.facts import describe_machine
from compile.storage import formats
from compile.targets.precisions import INT8
from repghost.errors import RepGhostError, ToolMissingError

FORMAT, VERSION = formats.BENCH
FEWEST_ROUNDS = 10  # before the spread of ratios is looked at


@dataclass(frozen=True)
class Settings:
    """How to compare."""

    threads: tuple[int, ...] = (1,)
    rounds: int = 30  # at most; every contender has one turn in each
    spread: float = 0.0  # the rounds end when the interval of each ratio of ours is this narrow; 0: after the last
    inferences: int = 10  # timed in a turn
    warmup: int = 3  # not timed, at the start of a turn
    precisions: tuple[str, ...] = ()  # of the other runtimes; none means all
    python: Path | None = None  # the interpreter that has the other runtimes' packages


@dataclass(frozen=True)
class Entry:
    """A bundle of ours with the instruction set to use."""

    bundle: Bundle
    variant: str | None = None  # None: the best one


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is compared, and how.

    Attributes:
        entries: ours; the first one is what everything else is compared with.
        peers: rows of `compile.bench.peers.PEERS`.
        prepared: from `compile.bench.prepare_inputs.prepare`.
        settings: how to compare.
        logits: of each entry for the images, float32 [N, classes].
        plainer: instruction sets of the entries that are not the best one of this machine.
    """

    entries: Sequence[Entry]
    peers: Sequence[Peer]
    prepared: Prepared
    settings: Settings
    logits: Sequence[NDArray[np.float32]]
    plainer: Sequence[str]


@dataclass
class Field:
    """The contenders of one number of threads, and those that could not take part."""

    contenders: list[Contender] = field(default_factory=list)
    absent: list[dict[str, str]] = field(default_factory=list)


def run_bench(
    entries: Sequence[Entry], peers: Sequence[Peer], prepared: Prepared, settings: Settings, say: Callable[[str], None]
) -> dict[str, Any]:
    """Compare and return the result as JSON values.

    Args:
        entries: see `Comparison`, as the next three.
        peers: other runtimes.
        prepared: what these start from.
        settings: how to compare.
        say: is given one line per step.

    Raises:
        ToolMissingError: when peers were asked for and none could be measured.
    """
    logits = [our_logits(entry.bundle, entry.variant, prepared.images) for entry in entries]
    comparison = Comparison(entries, peers, prepared, settings, logits, plainer_sets(entries))
    machine = describe_machine()
    runs, absent = [], []
    for threads in settings.threads:
        run, left_out = _run(comparison, threads, say)
        runs.append(run)
        absent += [reason for reason in left_out if reason not in absent]
    if peers and all(result["ours"] for run in runs for result in run["results"]):
        reasons = " ".join(f"{it['name']}: {it['reason']}; {it['command']}." for it in absent)
        raise ToolMissingError(f"nothing could be compared. {reasons}")
    first = entries[0].bundle.manifest
    return {
        "format": FORMAT,
        "version": VERSION,
        "machine": machine,
        "network": {
            "name": first["model"]["name"],
            "size": entries[0].bundle.size,
            "classes": first["classes"],
            "program_digest": first["program_digest"],
            "weights": first["model"].get("weights", {}),
        },
        "settings": {
            "rounds": settings.rounds,
            "spread": settings.spread,
            "inferences": settings.inferences,
            "warmup": settings.warmup,
            "batch": 1,
            "pictures": len(prepared.images),
            "saturates": prepared.inputs.saturates,
        },
        "runs": runs,
        "absent": absent,
    }


def plainer_sets(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the instruction sets of the entries that are not the best one of this machine.

    Runtimes that can be held to one of these are measured so, too.
    """
    named = (entry for entry in entries if entry.variant is not None)
    return tuple(dict.fromkeys(str(it.variant) for it in named if it.variant != load(it.bundle.path).variant))


def _run(
    comparison: Comparison, threads: int, say: Callable[[str], None]
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return what was measured with one number of threads, and who could not take part."""
    settings = comparison.settings
    with _line_up(comparison, threads, say) as lined_up:
        before = os.getloadavg()
        say(f"{_threads(threads)}: {len(lined_up.contenders)} builds, {settings.rounds} rounds")
        times = measure_rounds(lined_up, settings)
        after = os.getloadavg()
        results = _results(comparison, lined_up.contenders, times)
    run = {"threads": threads, "load_before": list(before), "load_after": list(after), "results": results}
    return run, lined_up.absent


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


@contextmanager
def _line_up(comparison: Comparison, threads: int, say: Callable[[str], None]) -> Iterator[Field]:
    """Start every contender, one after the other, and end all of them at the end."""
    found, settings, inputs = Field(), comparison.settings, comparison.prepared.inputs
    try:
        for entry in comparison.entries:
            ours = start_ours(entry.bundle, entry.variant, threads, settings.warmup, inputs.folder)
            found.contenders.append(ours)
        for peer in comparison.peers:
            for form in peer.forms:
                if form.only not in ("", platform.machine()):
                    continue
                if settings.precisions and form.precision not in settings.precisions:
                    continue
                for limit in (None, *(it for it in peer.limits if it.variant in comparison.plainer)):
                    say(f"preparing {peer.name} {form.name}{f' {limit.variant}' if limit else ''}, {_threads(threads)}")
                    _add_peer(found, peer, form, limit, comparison, threads)
        for peer in comparison.peers:
            found.absent += left_out(peer, comparison.plainer)
        yield found
    finally:
        for contender in found.contenders:
            contender.close()


def left_out(peer: Peer, plainer: Sequence[str]) -> list[dict[str, str]]:
    """Return what a runtime cannot do, and to which instruction sets it cannot be held."""
    able = {limit.variant for limit in peer.limits}
    reasons = {peer.name: peer.missing} if peer.missing else {}
    for variant in plainer:
        if variant not in able:
            reasons[f"{peer.name} {variant}"] = "it has no switch that holds it to an instruction set"
    return [{"name": name, "reason": reason, "command": ""} for name, reason in reasons.items()]


def _add_peer(found: Field, peer: Peer, form: Form, limit: Limit | None, comparison: Comparison, threads: int) -> None:
    """Start another runtime, or note why it cannot take part."""
    settings, prepared = comparison.settings, comparison.prepared
    name = peer_name(peer, form, limit)
    if getattr(prepared.inputs, form.needs) is None:
        found.absent.append({"name": name, "reason": prepared.why_absent(form.needs), "command": ""})
        return
    try:
        contender = start_peer(peer, form, prepared.inputs, threads, settings.warmup, settings.python, limit)
    except ToolMissingError as error:
        found.absent.append({"name": name, "reason": str(error), "command": peer.command(settings.python)})
    except RepGhostError as error:
        found.absent.append({"name": name, "reason": str(error), "command": ""})
    else:
        found.contenders.append(contender)


def measure_rounds(lined_up: Field, settings: Settings) -> list[Times]:
    """Give every contender one turn in each round; who begins changes from round to round.

    A contender that fails is moved to the absent ones. The rounds end early where `Settings.spread` says so.
    """
    times: dict[int, list[list[float]]] = {index: [] for index in range(len(lined_up.contenders))}
    failed: dict[int, str] = {}
    for number in range(-1, settings.rounds):  # the first round is not kept
        order = list(times)
        start = number % len(order)
        for index in order[start:] + order[:start]:
            if index in failed:
                continue
            try:
                turn = lined_up.contenders[index].turn(settings.inferences)
            except RepGhostError as error:
                failed[index] = str(error)
                continue
            if number >= 0:
                times[index].append(turn)
        done = {index: Times(np.array(turns)) for index, turns in times.items() if index not in failed}
        if number + 1 >= FEWEST_ROUNDS and _are_settled(lined_up.contenders, done, settings.spread):
            break
    for index, reason in failed.items():
        contender = lined_up.contenders[index]
        if contender.identity.ours:
            raise RepGhostError(reason)
        contender.close()
        lined_up.absent.append({"name": contender.identity.name, "reason": reason, "command": ""})
    kept = [index for index in times if index not in failed]
    lined_up.contenders[:] = [lined_up.contenders[index] for index in kept]
    return [Times(np.array(times[index])) for index in kept]


def _are_settled(contenders: Sequence[Contender], times: Mapping[int, Times], spread: float) -> bool:
    """Return whether the ratio of each build of ours to the fastest other one is known within `spread`.

    The other one is held to the instruction set of ours where any is; int8 has others of any precision.
    """
    rounds = {index: measured.of_rounds for index, measured in times.items()}
    others = [index for index in rounds if not contenders[index].identity.ours]
    if not spread or not others:
        return False
    for ours in (index for index in rounds if contenders[index].identity.ours):
        limited = [it for it in others if contenders[it].variant == contenders[ours].variant]
        alike = limited or [it for it in others if not contenders[it].variant]
        precision = contenders[ours].identity.precision
        same = [it for it in alike if precision == INT8.name or contenders[it].identity.precision == precision]
        fastest = min(same, key=lambda index: float(np.median(rounds[index])), default=None)
        if fastest is not None and not is_narrow(paired_ratio(rounds[ours], rounds[fastest]), spread):
            return False
    return True


def _results(comparison: Comparison, contenders: Sequence[Contender], times: Sequence[Times]) -> list[dict[str, Any]]:
    prepared, results = comparison.prepared, []
    classes = not prepared.inputs.results
    for index, (contender, measured) in enumerate(zip(contenders, times, strict=True)):
        identity = contender.identity
        ours = identity.ours  # these stand first, in the order of the entries
        logits = comparison.logits[index] if ours else np.load(logits_of(identity, prepared.inputs), allow_pickle=False)
        results.append(
            {
                "name": identity.name,
                "runtime": identity.runtime,
                "precision": identity.precision,
                "made_by": identity.made_by,
                "variant": contender.variant,
                "version": contender.version,
                "ours": ours,
                **measured.to_dict(),
                "rounds_ms": [round(float(value), 6) for value in measured.of_rounds],
                "ratio": paired_ratio(times[0].of_rounds, measured.of_rounds) if index else None,
                "agreement": agreement(logits, comparison.logits[0], prepared.float_logits, classes),
            }
        )
    return results
