"""What is measured of a bundle later, added to the report of its run: latency of boards, a detector's precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compile.report.average_precision import KEY, with_entry
from compile.report.boards import add_to_build
from compile.report.run_page import render_report
from compile.report.run_report import JSON_FILE, PAGE_FILE, read_report
from compile.storage.strict_json import canonical_json
from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.locks import locked


def add_to_reports(result: Mapping[str, Any]) -> list[Path]:
    """Put what boards measured into report.json of each bundle's run, and write its page again.

    Args:
        result: from `measure_on_boards`.

    Returns:
        The folders whose report knows of it now; a bundle that was moved away from its run has none.
    """
    changed = []
    for entry in result["results"]:
        folder = Path(entry["bundle"]).resolve().parent.parent
        if not entry["measured"] or not (folder / JSON_FILE).is_file():
            continue
        with locked(folder):  # a run that is being made writes the same report at its end
            report = read_report(folder)
            if any([add_to_build(build, entry) for build in report["builds"]]):
                _write(folder, report)
                changed.append(folder)
    return list(dict.fromkeys(changed))


def add_precision(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Put the average precision of a bundle into report.json of its run; returns whether the run knows the bundle.

    Args:
        folder: of the run.
        entry: see `compile.report.average_precision`, with the bundle's digest.
    """
    if not (folder / JSON_FILE).is_file():
        return False
    with locked(folder):
        report = read_report(folder)
        builds = [build for build in report["builds"] if build.get("bundle_digest") == entry["bundle_digest"]]
        for build in builds:
            build[KEY] = with_entry(build.get(KEY, []), entry)
        if builds:
            _write(folder, report)
    return bool(builds)


def _write(folder: Path, report: dict[str, Any]) -> None:
    write_bytes_atomically(folder / JSON_FILE, canonical_json(report))
    write_text_atomically(folder / PAGE_FILE, render_report(read_report(folder)))
