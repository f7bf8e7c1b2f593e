"""From reports of runs, or what `repghost bench --on --json` wrote, to what one board measured, without its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compile.cycles.boards import board_of
from compile.deploy.probe import ARM_PARTS
from compile.report.boards import BOARD_ACCURACY
from compile.report.boards import BOARDS as MEASURED
from compile.report.run_report import JSON_FILE, read_report
from compile.storage.formats import BOARD_LATENCY, REPORT
from compile.storage.strict_json import read_strict
from compile.summary.published import published_figures
from compile.summary.submission import CHIP, GOVERNORS, OTHER, Judged, Result, Submission, submission_of
from repghost.errors import IntegrityError, UsageError, option
from repghost.terminal import escape
from repghost.version import __version__

LIMIT = 32 << 20  # bytes of a report
PINNED = re.compile(r", cores ([0-9,-]{1,40})$")
IN_BRACKETS = re.compile(r"\[([^\]]*)\]")


def make_submission(paths: Sequence[Path], on: str | None, made: str) -> Submission:
    """Return what one board measured of published networks.

    Args:
        paths: folders of runs or their report.json, or JSON of `repghost bench --on`.
        on: the board, as it was named when it measured; None where only one did.
        made: the day, e.g. "2026-11-30".

    Raises:
        UsageError: when nothing was measured on a board, several boards measured, or no network is a published one.
        IntegrityError: when a file is damaged.
    """
    found = [(path, *entry) for path in paths for entry in _entries(path)]
    boards = list(dict.fromkeys(str(latency["board"]) for _, _, latency in found))
    if not boards:
        raise UsageError(
            f"no board measured anything in {', '.join(map(str, paths))}. Measure first: repghost bench BUNDLE --on "
            "USER@BOARD"
        )
    if on is None and len(boards) > 1:
        raise UsageError(f"{len(boards)} boards measured: {', '.join(boards)}. Say which: {option('on', 'BOARD')}.")
    if on is not None and on not in boards:
        raise UsageError(f"{on} measured nothing there; these did: {', '.join(boards)}.")
    own = [(path, network, latency) for path, network, latency in found if latency["board"] == (on or boards[0])]
    results = [_result(path, network, it) for path, network, it in own if network["model"] in published_figures()]
    if not results:
        names = ", ".join(dict.fromkeys(escape(network["model"], 60) for _, network, _ in own))
        raise UsageError(f"only networks with published figures are of use to others; the board measured {names}.")
    machine, clock = str(own[-1][2]["core"]), str(own[-1][2]["clock"])
    board = board_of(machine)
    chip = next((it for it in IN_BRACKETS.findall(machine) if CHIP.fullmatch(it)), "")
    core = max((name for name in ARM_PARTS.values() if name in machine), key=len, default="")
    if not (board or chip or core):
        raise UsageError(f"{escape(machine, 100)} names no board, chip or ARM core, so its figures would say nothing.")
    governor = clock.removeprefix("governor ")
    submission = Submission(
        board=board.name if board else OTHER,
        chip=chip,
        core=core,
        governor=governor if governor in GOVERNORS else "",
        made=made,
        release=__version__,
        results=tuple(dict.fromkeys(results)),
    )
    return submission_of(submission.to_dict(), "the measurement")  # nothing is written that a reader would refuse


def _entries(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each measured build of a file: its network, and its latency with the name of its board."""
    values = read_report(path) if path.is_dir() else read_strict(path, LIMIT)
    kind = (values.get("format"), values.get("version"))
    try:
        if kind == REPORT:
            yield from _of_report(values)
        elif kind == BOARD_LATENCY:
            for entry in values["results"]:
                network = {name: entry[name] for name in ("model", "size", "target", "precision")}
                for latency in entry["latencies"] if entry["measured"] else ():
                    yield network, {"board": entry["board"], BOARD_ACCURACY: entry.get("accuracy"), **latency}
        else:
            raise IntegrityError(f"{path} is {kind[0]!r:.60}; give {JSON_FILE} of a run, or JSON of 'repghost bench'.")
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} is not as its format says ({type(error).__name__}: {error}).") from error


def _of_report(report: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for build in report["builds"]:
        accuracy = {it["board"]: it for it in build.get(BOARD_ACCURACY, [])}
        network = {"model": report["model"]["name"], "size": report["preprocess"]["size"],
                   "target": build["target"], "precision": build["precision"]}  # fmt: skip
        for latency in build.get(MEASURED, []):
            yield network, {BOARD_ACCURACY: accuracy.get(latency["board"]), **latency}


def _result(path: Path, network: Mapping[str, Any], it: Mapping[str, Any]) -> Result:
    """Return one measured build.

    Raises:
        UsageError: for an input that is not square.
        IntegrityError: when the file is damaged.
    """
    try:
        sides = network["size"] if isinstance(network["size"], list) else [network["size"]]
        if len(set(sides)) != 1 or not isinstance(sides[0], int):
            raise UsageError(f"{path}: published figures are of square inputs, not {escape(network['size'], 40)}.")
        pinned, accuracy = PINNED.search(it["core"]), it[BOARD_ACCURACY]
        before, after = _state(it, "before"), _state(it, "after")
        return Result(
            model=network["model"],
            size=sides[0],
            target=network["target"],
            precision=network["precision"],
            variant=it["variant"],
            threads=it["threads"],
            cores=pinned[1] if pinned else "",
            runs=it["runs"],
            min_ms=round(it["min_ms"], 4),
            median_ms=round(it["median_ms"], 4),
            p90_ms=round(it["p90_ms"], 4),
            throttled=it["throttled"],
            clock_mhz=(_mhz(before["clock_khz"]), _mhz(after["clock_khz"])),
            celsius=(before["temperature_c"], after["temperature_c"]),
            accuracy=accuracy and Judged(accuracy["pictures"], accuracy["correct"], accuracy["equal"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} is not as its format says ({type(error).__name__}: {error}).") from error


def _state(latency: Mapping[str, Any], when: str) -> dict[str, Any]:
    """Return clock and temperature: what the runner saw under load, and between its commands where it saw nothing."""
    under_load = latency["runner"].get(when) or {}
    return {name: value if under_load.get(name) is None else under_load[name] for name, value in latency[when].items()}


def _mhz(khz: int | None) -> int | None:
    return None if khz is None else round(khz / 1000)
