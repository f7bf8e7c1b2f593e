"""`repghost validate`: top-1 of a checkpoint, as it is and fused, on labelled pictures."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("validate", short_help="Top-1 of a checkpoint, as it is and fused.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A set of pictures (see the README).")
@click.option("--split", default="test", show_default=True, help="Which part of the set.")
@click.option("--images", type=click.IntRange(1), help="Only so many pictures, balanced over the classes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses the pictures of --images.")
@click.option(
    "--preprocess", "preprocess_file", type=click.Path(path_type=Path), help="JSON; instead of the checkpoint's."
)
@click.option("--batch", default=250, show_default=True, type=click.IntRange(1), help="Pictures per step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    checkpoint: Path,
    data: Path,
    split: str,
    images: int | None,
    seed: int,
    preprocess_file: Path | None,
    batch: int,
    as_json: bool,
) -> None:
    """Measure top-1 of CHECKPOINT in float32, once as it is and once fused."""
    from tqdm import tqdm

    from repghost.data import open_dataset
    from repghost.data.subset import choose_balanced
    from repghost.validate import validate

    dataset = open_dataset(data, split)
    indices = None if images is None else choose_balanced(dataset.labels, images, seed)
    report = validate(checkpoint, dataset, preprocess_file, indices, batch, lambda work: tqdm(work, disable=None))
    for message in report.broken:
        click.echo(f"broken picture, not counted: {message}", err=True)
    if as_json:
        click.echo(json.dumps({"data": str(data), "split": split} | report.to_dict()))
        return
    for title, value in (("fp32", report.fp32), ("fp32 fused", report.fused)):
        click.echo(f"{title:10} top-1 {value.top1:.2%} of {value.pictures} (95 %: {value.low:.2%} to {value.high:.2%})")
    click.echo(f"same answer on {report.change.agreeing} of {report.change.pictures}; broken: {len(report.broken)}")
