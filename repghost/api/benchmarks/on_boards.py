"""Bundles proven and timed on boards, over ssh."""

from __future__ import annotations

from compile.bundle.manifest import check_bundle
from compile.deploy import measure
from compile.deploy.labelled_images import LabelledImages, labelled_images
from compile.report.add_measurement import add_to_reports
from repghost.api.benchmarks.arguments import BenchArguments, Benchmark
from repghost.api.bundles import Say
from repghost.errors import UsageError, option


def on_boards(wanted: BenchArguments) -> Benchmark:
    """Prove and time bundles on boards, and add the latency to the reports of their runs."""
    boards = [wanted.ssh.connect(name) for name in wanted.on]
    if len(wanted.variants) > 1:
        raise UsageError(
            f"{option('on')} measures one instruction set at a time; give one {option('variant')}, or none for the "
            "best."
        )
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        wanted.say(line)

    asked = wanted.board_run(_labelled_images(wanted, tell))
    result = measure.measure_on_boards(wanted.paths, boards, asked, tell)
    for folder in add_to_reports(result):
        tell(f"written: {folder / 'report.md'}")
    return Benchmark(result, "\n".join(lines))


def _labelled_images(wanted: BenchArguments, say: Say) -> dict[str, LabelledImages]:
    """Return the labelled images of each bundle by its digest, before any board is touched; none where not asked."""
    if wanted.accuracy is None:
        return {}
    of_set = wanted.class_map, wanted.val_share
    bundles = [check_bundle(path) for path in wanted.paths]
    return {it.digest: labelled_images(it, wanted.accuracy, wanted.images, say, *of_set) for it in bundles}
