"""`repghost validate`: the accuracy of networks on the same labelled images, in every form they have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.data_options import class_map_option, class_order_option
from repghost.commands.options.gather import gather
from repghost.commands.options.process_options import ProcessOptions, dist_timeout_option
from repghost.commands.progress.notes import say_notes
from repghost.errors import UsageError
from repghost.terminal import say

if TYPE_CHECKING:
    from repghost.data import ImageSet
    from repghost.distributed.ranks import Ranks
    from repghost.evaluation.predictor import Predictor
    from repghost.validation.validate import Validation


@dataclass(frozen=True)
class ValidateRequest:
    """The options of the command, each under its own name."""

    data: Path
    split: str
    images: int | None
    seed: int
    preprocess: Path | None
    width: str | None
    weights: str | None
    batch: int
    compiled: bool
    cache: Path
    folder: Path | None
    per_class: bool
    as_json: bool
    class_order: str | None
    class_map: Path | None


@click.command("validate", short_help="Top-1 of networks: raw, EMA, fused, int8, compiled.")
@click.argument("networks", nargs=-1, metavar="[NETWORK|FILE.qdq.onnx|BUNDLE]...")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A set of pictures (see the README).")
@click.option("--split", default="test", show_default=True, help="Which part of the set.")
@click.option("--images", type=click.IntRange(1), help="Only so many pictures, balanced over the classes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses the pictures of --images.")
@click.option("--preprocess", type=click.Path(path_type=Path), help="JSON; instead of the networks' own.")
@click.option("--width", help="Needed for the checkpoint 'timm'; refuses a checkpoint of another width.")
@click.option("--weights", help="Of a network that is named, timm:NAME: a weight file, or 'pretrained'.")
@click.option("--batch", "-b", default=250, show_default=True, type=click.IntRange(1), help="Pictures per step.")
@click.option("--compiled", is_flag=True, help="Compile QDQ files for this machine too, and compare every bit.")
@click.option("--cache", default="build/.cache", show_default=True, type=click.Path(path_type=Path),
              help="Where --compiled keeps objects.")  # fmt: skip
@click.option("--all-widths", "folder", type=click.Path(path_type=Path),
              help="A folder of checkpoints instead: a row for each width, beside the published figures.")  # fmt: skip
@class_order_option
@class_map_option
@click.option("--per-class", is_flag=True, help="Show each class.")
@gather("processes", ProcessOptions, (
    click.option("--device", help="cpu or cuda, for PyTorch; a GPU by default where there is one."), dist_timeout_option
))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(networks: tuple[str, ...], processes: ProcessOptions, **options: Any) -> None:
    """Measure top-1 and top-5 of networks on the same pictures, and the change against the first.

    NETWORK is a checkpoint, a float ONNX file, or timm:NAME or torchvision:NAME with --weights, measured by PyTorch. A
    checkpoint is measured as it is and fused; one with averaged weights also without the average. A QDQ file is
    computed by the numpy reference, a bundle by its own code. A QDQ file with the .qdq.onnx name of a checkpoint
    in --all-widths is measured with it.

    Several processes: torchrun --nproc-per-node=N -m repghost.cli validate ...
    """
    request = ValidateRequest(**options)
    if bool(networks) == bool(request.folder):
        raise UsageError("give either networks or --all-widths DIR; a network is a checkpoint, a QDQ file or a bundle.")
    if request.folder and (request.width or request.per_class):
        raise UsageError("--width and --per-class have no effect with --all-widths; leave them out.")
    with processes.join() as ranks:
        if request.folder:
            _all_widths(request.folder, ranks, request)
        else:
            _one(networks, ranks, request)


def _one(networks: tuple[str, ...], ranks: Ranks, request: ValidateRequest) -> None:
    """Measure the networks that were named, and print."""
    from repghost.validation.tables import class_table, network_table

    report = _measure(networks, ranks, request)
    if not ranks.first:
        return
    _tell([report])
    if request.as_json:
        click.echo(json.dumps({"data": str(request.data), "split": request.split} | report.to_dict()))
        return
    lines = network_table(report)
    if request.per_class:
        lines += ["", *class_table(report)]
    lines.append(f"{sum(report.images)} pictures, broken: {len(report.broken)}")
    say(*lines)


def _all_widths(folder: Path, ranks: Ranks, request: ValidateRequest) -> None:
    """Measure every width of a folder, and print."""
    from repghost.validation.published_widths import WidthFiles, validate_widths
    from repghost.validation.tables import width_table

    def measure(files: WidthFiles) -> Validation:
        names = [str(path) for path in (files.checkpoint, files.quantized) if path is not None]
        return _measure(tuple(names), ranks, request)

    rows = validate_widths(folder, measure)
    if not ranks.first:
        return
    _tell([row.measured for row in rows if row.measured is not None])
    if request.as_json:
        click.echo(json.dumps({"data": str(request.data), "widths": [row.to_dict() for row in rows]}))
        return
    say(*width_table(rows))


def _measure(networks: tuple[str, ...], ranks: Ranks, request: ValidateRequest) -> Validation:
    """Return the accuracy of networks on the same images."""
    from tqdm import tqdm

    from repghost.data import open_dataset
    from repghost.data.subset import choose_balanced
    from repghost.validation.validate import Reading, validate

    dataset = open_dataset(request.data, request.split, request.class_map)
    predictors = [found for source in networks for found in _open(source, ranks, dataset, request)]
    indices = None if request.images is None else choose_balanced(dataset.labels, request.images, request.seed)
    disable = None if ranks.first else True
    reading = Reading(
        indices, request.batch, lambda work: tqdm(work, disable=disable, leave=False), request.class_order
    )
    return validate(predictors, dataset, reading, ranks)


def _open(source: str, ranks: Ranks, dataset: ImageSet, request: ValidateRequest) -> list[Predictor]:
    """Return the networks of one argument."""
    from calib.importer.names import is_library_or_onnx, is_named
    from calib.importer.onnx_file import is_quantized
    from compile.stages.predictors import open_bundle, open_float, open_qdq
    from repghost.network.spec import parse_width
    from repghost.validation.sources import open_checkpoints

    path, preprocess = Path(source), request.preprocess
    if is_library_or_onnx(source) and (is_named(source) or not is_quantized(path)):
        return open_float(source, request.weights, preprocess, ranks)
    if is_library_or_onnx(source):
        cache = request.cache if request.compiled else None
        return open_qdq(path, preprocess, ranks, cache, dataset, request.class_order)
    if path.is_dir():
        return open_bundle(path)
    width = None if request.width is None else parse_width(request.width, custom=True)
    return open_checkpoints(source, preprocess, ranks.device, width, request.batch)


def _tell(reports: Sequence[Validation]) -> None:
    """Say how the images were read, each note once over all measurements."""
    say_notes(note for report in reports for note in report.notes)
    for message in dict.fromkeys(message for report in reports for message in report.broken):
        say(f"broken picture, not counted: {message}", err=True)
