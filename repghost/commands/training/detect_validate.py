"""`repghost detect-validate`: average precision of a detector as COCO defines it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from repghost.commands.options.process_options import ProcessOptions, process_options
from repghost.commands.progress.notes import say_notes
from repghost.terminal import say


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
    from tqdm import tqdm

    from repghost.detection.checkpoint import read_detector
    from repghost.detection.coco import open_coco
    from repghost.detection.detector import fuse_detector
    from repghost.detection.evaluate import evaluate

    loaded = read_detector(detector)
    model = fuse_detector(loaded.model) if fused and loaded.form == "train" else loaded.model
    dataset = open_coco(data, split, masks=loaded.recipe.kind == "maskrcnn").matched(loaded.categories)
    with processes.join() as ranks:
        scores = evaluate(model.to(ranks.device), dataset, ranks, lambda places: tqdm(places, disable=None))
    if not ranks.first:
        return
    say_notes(dataset.notes)
    for message in scores.broken:
        say(f"broken picture, counted as empty: {message}", err=True)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(scores)))
        return
    say(f"{scores.pictures} pictures, {scores.objects} objects")
    for kind, figures in (("boxes", scores.boxes), ("masks", scores.masks)):
        if figures is not None:
            values = dataclasses.asdict(figures).items()
            shown = "  ".join(f"{name} {'-' if value is None else format(value, '.4f')}" for name, value in values)
            say(f"{kind}: {shown}")
