"""`repghost validate`: the accuracy of networks on the same labelled images, in every form they have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.args_file import args_file_option, given_file
from repghost.commands.options.data_options import (
    DATA_HELP,
    class_map_option,
    class_order_option,
    dataset_option,
    refuse_two_sets,
    val_share_option,
)
from repghost.commands.options.earlier import Renamed
from repghost.commands.options.gather import gather
from repghost.commands.options.process_options import (
    ProcessOptions,
    dist_timeout_option,
    processes_option,
    quiet_but_first,
    start_processes,
)
from repghost.commands.progress.notes import say_notes
from repghost.commands.training.args_of_run import of_validation, weights_beside
from repghost.errors import UsageError
from repghost.terminal import say, say_broken, say_page

if TYPE_CHECKING:
    from repghost.api.shown.results import Evaluation
    from repghost.api.shown.validated import Validated, ValidatedWidths


@click.command("validate", short_help="Top-1 of networks: raw, EMA, fused, int8, compiled.")
@click.argument("networks", nargs=-1, metavar="[NETWORK|FILE.qdq.onnx|BUNDLE]...")
@click.option("--data", "data", cls=Renamed, earlier=("--data_dir", "--data-dir"), required=True,
              type=click.Path(path_type=Path), help=DATA_HELP)  # fmt: skip
@click.option("--resume", "--checkpoint", "checkpoint", help="One more network, as the authors and timm take it.")
@click.option(
    "--split", cls=Renamed, earlier=("--val-split",), default="test", show_default=True, help="Which part of the set."
)
@click.option("--images", type=click.IntRange(1), help="Only so many pictures, balanced over the classes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses the pictures of --images.")
@click.option("--preprocess", type=click.Path(path_type=Path), help="JSON; instead of the networks' own.")
@click.option(
    "--width",
    cls=Renamed,
    earlier=("--model",),
    help="Needed for the checkpoint 'timm'; refuses a checkpoint of another width.",
)
@click.option("--model-ema", "--ema", "ema", is_flag=True, help="Refuse a checkpoint without averaged weights.")
@click.option("--weights", help="Of a network that is named, timm:NAME: a weight file, or 'pretrained'.")
@click.option(
    "--size", "--img-size", "img_size", type=click.IntRange(1), help="Pixels of the input, where a network takes any."
)
@click.option("--crop-pct", type=float, help="Input size / resize, instead of the networks' own.")
@click.option("--workers", "-j", default=0, show_default=True, type=click.IntRange(0), help="Processes that decode.")
@click.option("--batch", "-b", cls=Renamed, earlier=("--batch-size",), default=250, show_default=True,
              type=click.IntRange(1), help="Pictures per step.")  # fmt: skip
@click.option("--compiled", is_flag=True, help="Compile QDQ files for this machine too, and compare every bit.")
@click.option("--cache", default="build/.cache", show_default=True, type=click.Path(path_type=Path),
              help="Where --compiled keeps objects.")  # fmt: skip
@click.option("--all-widths", "folder", type=click.Path(path_type=Path),
              help="A folder of checkpoints instead: a row for each width, beside the published figures.")  # fmt: skip
@class_order_option
@class_map_option
@val_share_option
@click.option("--mistakes", type=click.Path(path_type=Path),
              help="A folder for the wrong pictures of one network, and its confusion matrix.")  # fmt: skip
@click.option("--per-class", is_flag=True, help="Show each class.")
@processes_option
@gather("processes", ProcessOptions, (
    click.option("--device", help="cpu or cuda, for PyTorch; a GPU by default where there is one."), dist_timeout_option
))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@dataset_option
@args_file_option(of_validation)
def command(
    networks: tuple[str, ...],
    checkpoint: str | None,
    data: Path,
    folder: Path | None,
    count: int | None,
    per_class: bool,
    as_json: bool,
    processes: ProcessOptions,
    **options: Any,
) -> None:
    """Measure top-1 and top-5 of networks on the same pictures, and the change against the first.

    NETWORK is a checkpoint, a float ONNX file, or timm:NAME or torchvision:NAME with --weights, measured by PyTorch. A
    checkpoint is measured as it is and fused; one with averaged weights also without the average. A QDQ file is
    computed by the numpy reference, a bundle by its own code. A QDQ file with the .qdq.onnx name of a checkpoint
    in --all-widths is measured with it. With -c FILE alone, the weights that lie beside this args.yaml are NETWORK.

    Several processes: --processes N on this machine, or torchrun --nproc-per-node=N -m repghost validate ...
    """
    refuse_two_sets()
    start_processes(count)
    from repghost.api.validation import validate, validate_widths

    networks += () if checkpoint is None else (checkpoint,)
    of_run = given_file()
    if of_run is not None and not networks and not folder:
        beside = weights_beside(of_run)
        networks = () if beside is None else (beside,)
    if options["width"]:  # the authors write repghost.repghostnet_0_5x
        options["width"] = options["width"].removeprefix("repghost.")
    if bool(networks) == bool(folder):
        raise UsageError("give either networks or --all-widths DIR; a network is a checkpoint, a QDQ file or a bundle.")
    if folder and (options["width"] or options["weights"] or options["mistakes"] or options["ema"] or per_class):
        raise UsageError(
            "--width, --weights, --mistakes, --model-ema and --per-class have no effect with --all-widths; leave them "
            "out."
        )
    with quiet_but_first():
        if folder:
            del options["width"], options["weights"], options["mistakes"], options["ema"]
            rows = validate_widths(folder, data, **options, **vars(processes))
            _tell(rows, as_json, repr(rows))
        else:
            found = validate(networks, data, **options, **vars(processes))
            _tell(found, as_json, "\n".join(found.lines(per_class)))
            if found.evaluation is not None:
                say(f"written: {options['mistakes']} ({_counted(found.evaluation)}, confusion.png)", err=as_json)


def _counted(seen: Evaluation) -> str:
    """Return how many wrong pictures there are, and how many of them were written."""
    wrong = len(seen.labels) - seen.top1.correct
    surest = f", the {len(seen.mistakes)} surest of them" if len(seen.mistakes) < wrong else ""
    return f"{wrong} wrong pictures of {len(seen.labels)}{surest}"


def _tell(found: Validated | ValidatedWidths, as_json: bool, text: str) -> None:
    """Print what was measured, and on stderr how the images were read."""
    say_notes(found.notes)
    say_broken(found.broken, "not counted")
    say_page(json.dumps(found.to_dict()) if as_json else text)
