"""`repghost detect-validate`: average precision of a detector as COCO defines it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from repghost.commands.options.process_options import ProcessOptions, process_options, quiet_but_first
from repghost.commands.progress.notes import say_notes
from repghost.terminal import say, say_page


@click.command("detect-validate", short_help="Average precision of a detector.")
@click.argument("detector", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path),
              help="Folder with annotations/instances_SPLIT.json and the pictures in SPLIT/.")  # fmt: skip
@click.option("--split", default="val2017", show_default=True)
@click.option("--fused", is_flag=True, help="Fold branches and batch norms of the backbone first.")
@process_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(detector: Path, data: Path, split: str, fused: bool, processes: ProcessOptions, as_json: bool) -> None:
    """Measure DETECTOR, a file of 'repghost detect-train', on a split in COCO's format."""
    from repghost.api.training.detection import evaluate_detector

    with quiet_but_first():
        found = evaluate_detector(detector, data, split=split, fused=fused, **vars(processes))
        say_notes(found.notes)
        for message in found.scores.broken:
            say(f"broken picture, counted as empty: {message}", err=True)
        say_page(json.dumps(found.to_dict()) if as_json else repr(found))
