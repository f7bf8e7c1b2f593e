"""Latency that boards measured, added to the reports of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
                write_bytes_atomically(folder / JSON_FILE, canonical_json(report))
                write_text_atomically(folder / PAGE_FILE, render_report(read_report(folder)))
                changed.append(folder)
    return list(dict.fromkeys(changed))
