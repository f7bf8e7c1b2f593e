"""Latency on boards: a bundle is verified there, measured by its own runner, and removed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compile.bundle.manifest import Bundle, check_bundle
from compile.deploy.copy import BUNDLES, RUNNER
from compile.deploy.evaluate import evaluate_on_board
from compile.deploy.fit import check_fit
from compile.deploy.install import place
from compile.deploy.labelled_images import LabelledImages
from compile.deploy.lock import lock_board
from compile.deploy.probe import SLOWER_CLOCK, BoardFacts, probe
from compile.deploy.ssh.connection import Connection
from compile.deploy.verify_on_board import run_runner, verify_on_board
from compile.storage.formats import BOARD_LATENCY
from repghost.errors import DeviceUnreachableError, IntegrityError, RepGhostError, UsageError
from repghost.terminal import escape

FORMAT, VERSION = BOARD_LATENCY
LIMIT_S = 1800.0  # of one measurement
FIGURES = ("min_ms", "median_ms", "p90_ms")  # what the runner has to say


@dataclass(frozen=True)
class BoardRun:
    """What is measured on each board."""

    threads: tuple[int, ...] = (1,)
    runs: int = 300
    warmup: int = 30
    variant: str | None = None  # an instruction set; the best one by default
    seconds: int | None = None  # measure so long, whatever `runs` is, and keep the curve
    cores: str | None = None  # a list like "4-7": the cores to stay on
    limit_s: float = LIMIT_S
    labelled: Mapping[str, LabelledImages] = field(
        default_factory=dict
    )  # by the digest of the bundle that classifies them

    @property
    def where(self) -> list[str]:
        """The options of the runner that choose the instruction set and the cores."""
        chosen = (("--variant", self.variant), ("--cores", self.cores))
        return [word for option, value in chosen if value is not None for word in (option, value)]


def measure_on_boards(
    paths: Sequence[Path], connections: Sequence[Connection], wanted: BoardRun, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure every bundle on every board; a failure on one board does not affect another.

    Args:
        paths: the folders of the bundles.
        connections: to the boards, which work side by side.
        wanted: what is measured.
        say: is told each result.

    Returns:
        JSON values: one entry for each bundle on each board, with the latency or with the error.

    Raises:
        UsageError, IntegrityError: when a bundle cannot be used anywhere.
    """
    bundles = [check_bundle(path) for path in paths]
    if len({str(connection.address) for connection in connections}) < len(connections):
        raise UsageError("a board was named twice; name each once.")

    def on_board(connection: Connection) -> list[dict[str, Any]]:
        return [_measured_or_not(bundle, connection, wanted, say) for bundle in bundles]

    with ThreadPoolExecutor(len(connections)) as pool:
        results = [entry for entries in pool.map(on_board, connections) for entry in entries]
    return {"format": FORMAT, "version": VERSION, "results": results}


def _measured_or_not(
    bundle: Bundle, connection: Connection, wanted: BoardRun, say: Callable[[str], None]
) -> dict[str, Any]:
    board, manifest = str(connection.address), bundle.manifest
    entry: dict[str, Any] = {
        "board": board,
        "bundle": str(bundle.path),
        "bundle_digest": bundle.digest,
        "program_digest": manifest["program_digest"],
        "model": manifest["model"].get("name"),
        "width": manifest["model"].get("width"),
        "size": bundle.size,
        "target": bundle.target_name,
        "precision": manifest["precision"],
    }
    try:
        measured = measure_on_board(bundle, connection, wanted, say)
    except RepGhostError as error:
        say(f"{board}: {bundle.path}: {error}")
        return {**entry, "measured": False, "reason": str(error), "exit_code": error.exit_code}
    for latency in measured["latencies"]:
        say(f"{board}: {bundle.path}: {latency_line(latency)}")
    if "accuracy" in measured:
        say(f"{board}: {bundle.path}: {accuracy_line(measured['accuracy'])}")
    return {**entry, "measured": True, **measured}


def latency_line(latency: Mapping[str, Any]) -> str:
    """Return one measured latency as a line."""
    throttled = ", THROTTLED" if latency["throttled"] else ""
    threads = f"{latency['threads']} thread" + ("s" if latency["threads"] > 1 else "")
    return (
        f"median {latency['median_ms']:.3f} ms, p90 {latency['p90_ms']:.3f} ms, min {latency['min_ms']:.3f} ms "
        f"({threads}, {latency['variant']}{throttled})"
    )


def accuracy_line(accuracy: Mapping[str, Any]) -> str:
    """Return an accuracy that was measured on a board as a line."""
    equal = "" if accuracy["equal"] is None else f", all scores equal to the {accuracy['reference']} to the bit"
    degrees = accuracy["after"]["temperature_c"]
    return (
        f"top-1 {accuracy['top1']:.2%} (95 %: {accuracy['low']:.2%} to {accuracy['high']:.2%}) of "
        f"{accuracy['pictures']} pictures of {accuracy['data']}{equal}; one takes {accuracy['median_ms']:.3f} ms, p90 "
        f"{accuracy['p90_ms']:.3f}, p99 {accuracy['p99_ms']:.3f} ({accuracy['variant']}"
        + (f", {degrees:.1f} degrees" if isinstance(degrees, int | float) else "")
        + (", THROTTLED)" if accuracy["throttled"] else ")")
    )


def measure_on_board(
    bundle: Bundle, connection: Connection, wanted: BoardRun, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure a bundle on one board; what was copied for it is removed again, what runs there is not touched.

    Returns:
        "latencies", "facts" of the board, and where there are labelled images "accuracy".

    Raises:
        RepGhostError: when the bundle does not fit or the board does not verify it.
    """
    if RUNNER not in bundle.manifest["files"]:
        there = connection.address.command("sh", f"{connection.address.folder}/current/measure.sh")
        raise UsageError(f"{bundle.path} brings no runner; deploy it, then: {there} > jetson-measurement.json")
    before = probe(connection)
    check_fit(bundle, before, connection.address.destination)
    with lock_board(connection) as token:
        folder = place(bundle, connection, before, token, lambda line: None)
        try:
            verify_on_board(connection, bundle, folder, before.digest_tool)
            measured: dict[str, Any] = {
                "latencies": [_measure(connection, folder, wanted, threads) for threads in wanted.threads],
                "facts": before.to_dict(),
            }
            if bundle.digest in wanted.labelled:
                words = ["--threads", str(wanted.threads[0]), *wanted.where]
                labelled = wanted.labelled[bundle.digest]
                measured["accuracy"] = evaluate_on_board(connection, bundle, folder, labelled, words, say)
        finally:
            if folder != f"{BUNDLES}/{bundle.digest}":
                with suppress(DeviceUnreachableError):  # a board that is gone: the next deployment removes it
                    connection.run("discard", {"digest": bundle.digest, "token": token})
    return measured


def _measure(connection: Connection, folder: str, wanted: BoardRun, threads: int) -> dict[str, Any]:
    before = probe(connection)
    arguments = ["--bench", "--runs", str(wanted.runs), "--warmup", str(wanted.warmup), "--threads", str(threads)]
    arguments += [*wanted.where, *(["--seconds", str(wanted.seconds)] if wanted.seconds is not None else [])]
    result = run_runner(connection, folder, arguments, wanted.limit_s)
    after = probe(connection)
    where = connection.address.destination
    if after.boot != before.boot:
        raise DeviceUnreachableError(f"{where} restarted while it was measured. Check its power, then try again.")
    figures = {}
    for name in FIGURES:
        value = result.get(name)
        if type(value) not in (int, float) or not 0 < float(str(value)) < 1e7:
            raise IntegrityError(f"the runner on {where} says that {name} is {value!r}; it has to be milliseconds.")
        figures[name] = float(str(value))
    return {
        **figures,
        "runs": result["runs"] if type(result.get("runs")) is int else wanted.runs,
        "warmup": wanted.warmup,
        "threads": threads,
        "variant": escape(result.get("variant"), 40),
        "core": core(before, wanted.cores),
        "clock": f"governor {before.governor}" if before.governor else "not reported by the kernel",
        "before": _state(before),
        "after": _state(after),
        "throttled": _throttled(result, before, after),
        "runner": {name: value for name, value in result.items() if name not in figures},
    }


def core(facts: BoardFacts, pinned: str | None = None) -> str:
    """Return what the board, its chip and its core are called, and which cores were used where they were chosen.

    `compile.cycles.boards.Board.is_machine` reads it.
    """
    chip = f"[{facts.chip}]" if facts.chip else ""
    names = [facts.board, chip, facts.core, f"({facts.cores} cores)" if facts.cores else ""]
    called = " ".join(name for name in names if name) or facts.machine
    return called if pinned is None else f"{called}, cores {pinned}"


def _state(facts: BoardFacts) -> dict[str, Any]:
    return {"clock_khz": facts.clock_khz, "temperature_c": facts.temperature_c}


def _throttled(result: Mapping[str, Any], before: BoardFacts, after: BoardFacts) -> bool | None:
    """Return whether the clock fell, as read by the runner under load; a later probe would find idle cores."""
    told = result.get("throttled")
    return told if isinstance(told, bool) else throttled(before, after)


def throttled(before: BoardFacts, after: BoardFacts) -> bool | None:
    """Return whether the clock fell while measuring; None where the board does not say its clock."""
    if not before.clock_khz or not after.clock_khz:
        return None
    return after.clock_khz < SLOWER_CLOCK * before.clock_khz


def result_code(result: Mapping[str, Any]) -> int:
    """Return 0 when everything was measured, else the exit code of the first error."""
    return next((int(entry["exit_code"]) for entry in result["results"] if not entry["measured"]), 0)
