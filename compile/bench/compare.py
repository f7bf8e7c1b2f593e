"""A bundle against other runtimes on this machine: in one run, turn by turn, so that all of them meet the same load."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.bench.case import Prepared, our_predictions
from compile.bench.peers import Form, Peer
from compile.bench.processes import Contender, Identity, link_packages, predictions_of, start_ours, start_peer
from compile.bench.statistics import Times, agreement, paired_ratio
from compile.bundle.manifest import Bundle
from compile.machine.facts import describe_machine
from repghost.errors import RepGhostError, ToolMissingError

FORMAT = "repghost-bench"
VERSION = 1


@dataclass(frozen=True)
class Settings:
    """How to compare."""

    threads: tuple[int, ...] = (1,)
    rounds: int = 30  # every contender has one turn in each
    inferences: int = 10  # timed in a turn
    warmup: int = 3  # not timed, at the start of a turn
    precisions: tuple[str, ...] = ()  # of the peers; none means all
    python: Path | None = None  # the interpreter that has the peers' packages
    hold: bool = False  # whether the peers also run held to AVX2, see `compile.bench.peers.hold`


@dataclass(frozen=True)
class Entry:
    """A bundle of ours with the instruction set to use."""

    bundle: Bundle
    variant: str | None = None  # None: the best one


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
        entries: ours; the first one is what everything else is compared with.
        peers: rows of `compile.bench.peers.PEERS`.
        prepared: from `compile.bench.case.prepare`.
        settings: how to compare.
        say: is given one line per step.

    Raises:
        ToolMissingError: when peers were asked for and none could be measured.
    """
    predictions = [our_predictions(entry.bundle, entry.variant, prepared.images) for entry in entries]
    machine = describe_machine()
    runs, absent = [], []
    for threads in settings.threads:
        run, left_out = _run(entries, peers, prepared, settings, threads, predictions, say)
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
            "size": first["input"]["height"],
            "classes": first["classes"],
            "program_digest": first["program_digest"],
            "weights": first["model"].get("weights", {}),
        },
        "settings": {
            "rounds": settings.rounds,
            "inferences": settings.inferences,
            "warmup": settings.warmup,
            "batch": 1,
            "pictures": len(prepared.images),
            "saturates": prepared.case.saturates,
        },
        "runs": runs,
        "absent": absent,
    }


def _run(
    entries: Sequence[Entry],
    peers: Sequence[Peer],
    prepared: Prepared,
    settings: Settings,
    threads: int,
    predictions: list[NDArray[np.float32]],
    say: Callable[[str], None],
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Measure with one number of threads."""
    with _line_up(entries, peers, prepared, settings, threads, say) as lined_up:
        before = os.getloadavg()
        say(f"{threads} thread{'s' * (threads > 1)}: {len(lined_up.contenders)} builds, {settings.rounds} rounds")
        times = measure_rounds(lined_up, settings)
        after = os.getloadavg()
        results = _results(lined_up.contenders, times, prepared, predictions)
    run = {"threads": threads, "load_before": list(before), "load_after": list(after), "results": results}
    return run, lined_up.absent


@contextmanager
def _line_up(
    entries: Sequence[Entry],
    peers: Sequence[Peer],
    prepared: Prepared,
    settings: Settings,
    threads: int,
    say: Callable[[str], None],
) -> Iterator[Field]:
    """Start every contender, one after the other, and end all of them at the end."""
    found = Field()
    folder = prepared.case.folder
    try:
        for entry in entries:
            found.contenders.append(start_ours(entry.bundle, entry.variant, threads, settings.warmup, folder))
        for case in [prepared, prepared.held()] if settings.hold else [prepared]:
            if not (case.case.folder / "packages").is_dir():
                link_packages(case.case.folder)
            for peer in peers:
                for form in peer.forms:
                    if form.only not in ("", platform.machine()):
                        continue
                    if settings.precisions and form.precision not in settings.precisions:
                        continue
                    held = f", held to {case.case.held}" if case.case.held else ""
                    say(f"preparing {peer.name} {form.name}, {threads} thread{'s' * (threads > 1)}{held}")
                    _add_peer(found, peer, form, case, settings, threads)
        for peer in peers:
            if peer.missing:
                found.absent.append({"name": peer.name, "reason": peer.missing, "command": ""})
        yield found
    finally:
        for contender in found.contenders:
            contender.close()


def _add_peer(found: Field, peer: Peer, form: Form, prepared: Prepared, settings: Settings, threads: int) -> None:
    name = " ".join(filter(None, (peer.name, form.name, prepared.case.held)))
    if getattr(prepared.case, form.needs) is None:
        found.absent.append({"name": name, "reason": prepared.why_absent(form.needs), "command": ""})
        return
    try:
        contender = start_peer(peer, form, prepared.case, threads, settings.warmup, settings.python)
    except ToolMissingError as error:
        found.absent.append({"name": name, "reason": str(error), "command": peer.command(settings.python)})
    except RepGhostError as error:
        found.absent.append({"name": name, "reason": str(error), "command": ""})
    else:
        found.contenders.append(contender)


def measure_rounds(lined_up: Field, settings: Settings) -> list[Times]:
    """Give every contender one turn in each round; who begins changes from round to round.

    A contender that fails is moved to the absent ones.
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
    for index, reason in failed.items():
        contender = lined_up.contenders[index]
        if contender.identity.ours:
            raise RepGhostError(reason)
        contender.close()
        lined_up.absent.append({"name": contender.identity.name, "reason": reason, "command": ""})
    kept = [index for index in times if index not in failed]
    lined_up.contenders[:] = [lined_up.contenders[index] for index in kept]
    return [Times(np.array(times[index])) for index in kept]


def _scores_of(identity: Identity, prepared: Prepared) -> NDArray[np.float32]:
    """Return what a peer said about the images."""
    case = prepared.held().case if identity.variant else prepared.case
    scores: NDArray[np.float32] = np.load(predictions_of(identity, case), allow_pickle=False)
    return scores


def _results(
    contenders: Sequence[Contender], times: Sequence[Times], prepared: Prepared, predictions: list[NDArray[np.float32]]
) -> list[dict[str, Any]]:
    results = []
    for index, (contender, measured) in enumerate(zip(contenders, times, strict=True)):
        identity = contender.identity
        scores = predictions[index] if identity.ours else _scores_of(identity, prepared)
        results.append(
            {
                "name": identity.name,
                "runtime": identity.runtime,
                "precision": identity.precision,
                "made_by": identity.made_by,
                "variant": contender.variant,
                "version": contender.version,
                "ours": identity.ours,
                **measured.to_dict(),
                "rounds_ms": [round(float(value), 6) for value in measured.of_rounds],
                "ratio": paired_ratio(times[0].of_rounds, measured.of_rounds) if index else None,
                "agreement": agreement(scores, predictions[0], prepared.float_predictions),
            }
        )
    return results
