"""`repghost detect-validate`: average precision of a detector as COCO defines it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repghost.commands.options.process_options import ProcessOptions, process_options, quiet_but_first
from repghost.commands.progress.notes import say_notes
from repghost.terminal import escape, say_broken, say_page

if TYPE_CHECKING:
    from repghost.api.training.detectors import DetectorEvaluation


@click.command("detect-validate", short_help="Average precision of a detector.")
@click.argument("detectors", metavar="DETECTOR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path),
              help="Folder with annotations/instances_SPLIT.json and the pictures in SPLIT/.")  # fmt: skip
@click.option("--split", default="val2017", show_default=True, help="Which part of the set.")
@click.option("--fused", is_flag=True, help="Fold branches and batch norms of the backbone first.")
@click.option("--resamples", default=0, show_default=True, help="Draws of pictures for intervals, e.g. 300.")
@process_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    detectors: tuple[Path, ...], data: Path, split: str, fused: bool, resamples: int, processes: ProcessOptions,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure each DETECTOR on a split in COCO's format.

    It is a file of 'repghost detect-train'; of ssdlite also what 'repghost quantize' made of it, or a bundle for this
    machine or for Jetson, whose run's report keeps the result. With --resamples the others are compared with the first.
    """
    from repghost.api.training.detection import evaluate_detector

    with quiet_but_first():
        found = []
        for path in detectors:
            found.append(
                evaluate_detector(path, data, split=split, fused=fused, resamples=resamples, **vars(processes))
            )
            say_notes(found[-1].notes)
            say_broken(found[-1].scores.broken, "counted as empty")
            if not as_json:
                say_page(_page(found, path, len(detectors) > 1))
        values = [evaluation.to_dict() for evaluation in found]
        if as_json:
            say_page(json.dumps(values if len(values) > 1 else values[0]))


def _page(found: list[DetectorEvaluation], path: Path, several: bool) -> str:
    """Return what is said of the last evaluation, compared with the first."""
    lines = [escape(str(path))] if several else []
    lines.append(repr(found[-1]))
    if len(found) > 1 and found[0].scores.resampled is not None:
        change, low, high = (100 * value for value in found[-1].change(found[0]))
        lines.append(f"ap50 against the first: {change:+.2f} points, 95 % of the draws: {low:+.2f} .. {high:+.2f}")
    return "\n".join(lines)
