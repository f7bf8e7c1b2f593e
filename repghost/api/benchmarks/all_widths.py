"""Every published width on boards: `repghost bench --all-widths`; what is built or measured already is not repeated."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bundle.manifest import MANIFEST
from compile.deploy import measure
from compile.deploy.probe import probe
from compile.deploy.ssh.connection import Connection
from compile.report.add_measurement import add_to_reports
from compile.report.boards import BOARD_ACCURACY, BOARDS
from compile.report.run_report import JSON_FILE, read_report
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.summary.board_advice import width_label
from compile.summary.runs import plan_runs, run_all
from compile.targets.precisions import default_precisions, parse_precisions
from compile.targets.table import find_target
from repghost.api.benchmarks.arguments import BenchArguments, Benchmark
from repghost.errors import RepGhostError, UsageError, option
from repghost.network.spec import WIDTHS
from repghost.tables import make_table, text_lines
from repghost.terminal import escape


@dataclass(frozen=True)
class Build:
    """A bundle of a run, and what the run's report says of it."""

    path: Path
    model: str
    entry: Mapping[str, Any]


def all_widths(wanted: BenchArguments) -> Benchmark:
    """Measure every width on every board: the bundles of the runs in a folder, else new ones of random weights.

    Raises:
        UsageError: where an argument says otherwise what is measured.
    """
    _check(wanted)
    results = [entry for name in wanted.on for entry in _on_board(wanted, wanted.ssh.connect(name))]
    result = {"format": measure.FORMAT, "version": measure.VERSION, "results": results}
    text = "\n".join(_table(results))
    for line in text.split("\n"):
        wanted.say(line)
    return Benchmark(result, text)


def _check(wanted: BenchArguments) -> None:
    if wanted.paths or wanted.accuracy is not None or len(wanted.variants) > 1:
        raise UsageError(
            f"{option('all_widths')} measures the bundles of all widths in time alone; leave bundles, "
            f"{option('accuracy')} and further instruction sets out."
        )


def _on_board(wanted: BenchArguments, connection: Connection) -> list[dict[str, Any]]:
    """Return what was measured on one board, or why it was not."""
    board = str(connection.address)
    try:
        target = find_target(probe(connection).target_name).name
        for failure in _build_missing(wanted, target):
            wanted.say(failure)
    except RepGhostError as error:
        wanted.say(f"{board}: {error}")
        return [{"board": board, "bundle": "", "measured": False, "reason": str(error), "exit_code": error.exit_code}]
    builds = list(_builds(wanted, target))
    found = []
    for number, build in enumerate(builds, 1):
        wanted.say(f"{board}: {number} of {len(builds)}, {build.path}")
        found.append(_known(wanted, board, build) or _measured(wanted, connection, build))
    return found


def _build_missing(wanted: BenchArguments, target: str) -> list[str]:
    """Build the widths that no run has, of random weights; return a sentence for each that failed.

    The board proves its bundles itself, so nothing is emulated here.
    """
    there = {build.model for build in _builds(wanted, target)}
    lacking = [f"{row.multiplier:g}" for row in WIDTHS if row.name not in there]
    if not lacking:
        return []
    request = Request(
        target=target, precisions=parse_precisions(default_precisions()), output=wanted.output, weights=RANDOM,
        size=wanted.size, host=False, verify=False, jobs=os.cpu_count() or 1,
    )  # fmt: skip
    return run_all(plan_runs(request, ",".join(lacking)), wanted.say)


def _builds(wanted: BenchArguments, target: str) -> Iterator[Build]:
    """Yield the bundles for a target, in every precision, from the narrowest width on; of several runs the first's."""
    reports = [(file.parent, _report(file.parent)) for file in sorted(wanted.output.glob(f"*/{JSON_FILE}"))]
    for row in WIDTHS:
        for folder, report in reports:
            if (report["model"].get("name"), report["preprocess"].get("size")) != (row.name, wanted.size):
                continue
            own = [it for it in report["builds"] if it.get("target") == target and _is_bundle(folder / it["folder"])]
            if own:
                yield from (Build(folder / it["folder"], row.name, it) for it in own)
                break


def _report(folder: Path) -> dict[str, Any]:
    """Return the report of a run; one that cannot be read has no builds."""
    try:
        report = read_report(folder)
    except RepGhostError:
        return {"builds": [], "model": {}, "preprocess": {}}
    return report | {key: report[key] if isinstance(report.get(key), dict) else {} for key in ("model", "preprocess")}


def _is_bundle(path: Path) -> bool:
    return (path / MANIFEST).is_file()


def _known(wanted: BenchArguments, board: str, build: Build) -> dict[str, Any] | None:
    """Return what this board measured of the same bytes before, None where it did not, or something else is asked."""
    asked_otherwise = wanted.variants or wanted.seconds is not None or wanted.cores is not None
    latencies = {it["threads"]: it for it in build.entry.get(BOARDS, []) if it["board"] == board}
    if asked_otherwise or not set(wanted.threads) <= set(latencies):
        return None
    wanted.say(f"{board}: {build.path}: as measured before")
    entry = {
        "board": board, "bundle": str(build.path), "bundle_digest": build.entry["bundle_digest"],
        "program_digest": build.entry["program_digest"], "model": build.model, "size": wanted.size,
        "target": build.entry["target"], "precision": build.entry["precision"], "measured": True,
        "latencies": [latencies[threads] for threads in wanted.threads],
    }  # fmt: skip
    accuracy = next((it for it in build.entry.get(BOARD_ACCURACY, []) if it["board"] == board), None)
    return entry | ({"accuracy": accuracy} if accuracy else {})


def _measured(wanted: BenchArguments, connection: Connection, build: Build) -> dict[str, Any]:
    """Measure one bundle, and add it to its report at once, so that a broken run goes on where it stopped."""
    asked = wanted.board_run()
    result = measure.measure_on_boards([build.path], [connection], asked, wanted.say)
    add_to_reports(result)
    return dict(result["results"][0])


def _table(results: list[dict[str, Any]]) -> list[str]:
    """Return the medians of every board: a row for each width, a column for each precision."""
    lines: list[str] = []
    for board in dict.fromkeys(str(entry["board"]) for entry in results):
        own = [entry for entry in results if entry["board"] == board and entry["measured"]]
        precisions = list(dict.fromkeys(str(entry["precision"]) for entry in own))
        cells = {(it["model"], it["precision"]): f"{it['latencies'][0]['median_ms']:.3f}" for it in own}
        rows = [
            (width_label(row.name), *(cells.get((row.name, precision), "-") for precision in precisions))
            for row in WIDTHS if any(model == row.name for model, _ in cells)
        ]  # fmt: skip
        table = make_table(("width", *(f"#{precision}, ms" for precision in precisions)), rows)
        lines += ["", f"{escape(board)}: {len(own)} measured", *text_lines(table)]
    return lines[1:]
