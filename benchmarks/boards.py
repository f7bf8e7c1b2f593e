"""docs/boards.md, the table of boards in the README and counted.json, from docs/performance.json and docs/boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.pages.on_boards import Sent, render_devices, render_on_boards
from benchmarks.shared.command import docs_option, run_command
from benchmarks.shared.documents import Markers, read_performance, write_json
from compile.cycles import widths
from compile.cycles.boards import BOARDS
from compile.summary.schema import submission_schema
from compile.summary.submission import Result, read_submission
from repghost.files import write_text_atomically
from repghost.network.spec import WIDTHS

FOLDER, PAGE, SCHEMA = "boards", "boards.md", "boards.schema.json"
MARKERS = Markers(
    "<!-- boards: written by 'python -m benchmarks.boards' -->", "<!-- end of boards -->", "boards belong"
)
CORES = {board.core for board in BOARDS.values()}
CACHES = {board.cache_bytes for board in BOARDS.values()}


def read_sent(docs: Path) -> list[Sent]:
    """Return every submission, by the name of its file; one that may not be there is refused by name."""
    return [Sent(path.name, read_submission(path)) for path in sorted((docs / FOLDER).glob("*.json"))]


def counted(performance: Mapping[str, Any], sent: Sequence[Sent]) -> dict[str, Any]:
    """Return what is known of the widths on boards: counts to estimate from, and what was measured."""
    counts = {}
    for network in performance["arm64"]["networks"]:
        for it in network["counts"]:
            whole, key = it["whole"], (it["model"], it["size"], it["precision"], it["variant"])
            counts[key] = {
                **dict(zip(("model", "size", "precision", "variant"), key, strict=True)),
                "modelled_cycles": {name: value for name, value in whole["modelled_cycles"].items() if name in CORES},
                "lines_missed": {size: it for size, it in whole["lines_missed"].items() if int(size) in CACHES},
            }
    measured = [
        {"board": it.submission.board, "model": result.model, "size": result.size, "precision": result.precision,
         "variant": result.variant, "min_ms": result.min_ms, "median_ms": result.median_ms, "p90_ms": result.p90_ms}
        for it in sent for result in it.submission.results if it.submission.board in BOARDS and _comparable(result)
    ]  # fmt: skip
    return {"counts": [counts[key] for key in sorted(counts)], "measured": measured}


def _comparable(result: Result) -> bool:
    """Return whether a result may stand for its board: of 64-bit ARM, one thread, not throttled, one of the widths."""
    own = result.threads == 1 and not result.throttled and result.model in {row.name for row in WIDTHS}
    return own and result.is_counted


@click.command("boards")
@docs_option
@click.option("--readme", default="README.md", show_default=True, type=click.Path(path_type=Path, exists=True))
def command(docs: Path, readme: Path) -> None:
    """Write the page of boards, the README's table, and what `repghost advise` knows."""
    sent = read_sent(docs)
    write_json(widths.COUNTED, counted(read_performance(docs), sent))
    widths.forget()
    write_json(docs / SCHEMA, submission_schema())
    write_text_atomically(docs / PAGE, render_on_boards(sent))
    write_text_atomically(readme, MARKERS.replace(readme.read_text(), render_devices("docs/"), str(readme)))
    click.echo(f"written: {docs / PAGE}, {readme}")


if __name__ == "__main__":
    run_command(command)
