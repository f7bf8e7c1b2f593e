"""Bundles proven and timed on boards, over ssh."""

from __future__ import annotations

from compile.deploy import measure
from compile.report.add_board_latency import add_to_reports
from repghost.api.benchmarks.asked import Benchmark, Wanted
from repghost.errors import UsageError, option


def on_boards(wanted: Wanted) -> Benchmark:
    """Prove and time bundles on boards, and add the latency to the reports of their runs."""
    boards = [wanted.ssh.connect(name) for name in wanted.on]
    if len(wanted.variants) > 1:
        raise UsageError(
            f"{option('on')} measures one instruction set at a time; give one {option('variant')}, or none for the "
            "best."
        )
    runs, warmup = wanted.rounds * wanted.inferences, wanted.warmup * wanted.inferences
    asked = measure.BoardRun(wanted.threads, runs, warmup, wanted.only_variant, wanted.seconds, wanted.cores)
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        wanted.say(line)

    result = measure.measure_on_boards(wanted.paths, boards, asked, tell)
    for folder in add_to_reports(result):
        tell(f"written: {folder / 'report.md'}")
    return Benchmark(result, "\n".join(lines))
