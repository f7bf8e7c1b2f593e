"""`repghost fuse` (alias `convert`): fold a trained network into its deploy form and compare the two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from repghost.commands.progress.notes import say_notes
from repghost.terminal import say, shell_command

if TYPE_CHECKING:
    from repghost.checkpoints.checkpoint import Checkpoint
    from repghost.network.fuse import Equivalence


@click.command("fuse", short_help="Fold training branches and batch norms into plain convolutions.")
@click.argument("source", metavar="CKPT")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Fold every batch norm; otherwise 48 stay as in upstream's converted files.")
@click.option("--check", is_flag=True, help="Write nothing; compare OUT, converted before, with CKPT.")
@click.option("--width", help="Refuse a checkpoint of another width; chooses the file when CKPT is 'timm'.")
@click.option("--branches", help="For a file that does not tell: bn, identity, both or none.")
def command(source: str, output: Path, full: bool, check: bool, width: str | None, branches: str | None) -> None:
    """Convert CKPT and write it to OUT (.safetensors), with its preprocessing and labels.

    Both networks run on the same random pictures first; if they differ by more than rounding, nothing is written and
    the exit code is 6. CKPT is a weight file, or the word timm.
    """
    from repghost.checkpoints.checkpoint import read_checkpoint
    from repghost.checkpoints.timm_hub import SOURCE, open_checkpoint
    from repghost.network.spec import parse_width

    multiplier = None if width is None else parse_width(width, custom=True)
    if source == SOURCE:
        original = open_checkpoint(source, multiplier)
    else:
        original = read_checkpoint(source, width=multiplier, branches=branches)  # type: ignore[arg-type]
    say_notes(original.notes)
    if check:
        _check(original, source, output)
    else:
        _convert(original, source, output, full)


def _check(original: Checkpoint, source: str, converted: Path) -> None:
    """Compare a converted file with the checkpoint it came from."""
    from repghost.checkpoints.checkpoint import build_model, read_checkpoint
    from repghost.errors import UsageError
    from repghost.network.fuse import check_equivalence

    before, after = build_model(original), build_model(read_checkpoint(converted))
    if (after.spec.in_chans, after.num_classes) != (before.spec.in_chans, before.num_classes):
        raise UsageError(f"{str(converted)!r} has other channels or classes than {source!r}; it was made from another.")
    _tell(check_equivalence(before, after))


def _convert(original: Checkpoint, source: str, output: Path, full: bool) -> None:
    """Convert, compare, then write."""
    from repghost.checkpoints.checkpoint import build_model, write_checkpoint
    from repghost.errors import UsageError
    from repghost.network.fuse import check_equivalence, fuse
    from repghost.network.model import repghost_model_convert

    if output.suffix != ".safetensors":
        raise UsageError(f"a converted file is safetensors; OUT must end in .safetensors, not {output.suffix!r}.")
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise UsageError("OUT is CKPT itself; conversion cannot be undone, so the original is kept. Give another OUT.")
    if original.spec.form == "fused" and not full:
        raise UsageError(f"{source!r} is fully fused already; there is no way back to 48 batch norms. Use --full.")
    before = build_model(original)
    after = fuse(before) if full else repghost_model_convert(before)
    _tell(check_equivalence(before, after))
    metadata = {**original.metadata, "converted_from": original.digest}
    digest = write_checkpoint(output, after, original.preprocess, original.labels, metadata)
    say(f"written: {output} ({len(after.state_dict())} tensors, {after.spec.form} form, sha256 {digest[:16]})")
    say("next:")
    say("  " + shell_command("repghost", "export", output, output.with_suffix(".onnx")))


def _tell(result: Equivalence) -> None:
    say(
        f"same answers for {result.same_predictions} of {result.images} random pictures; largest difference of a logit "
        f"{result.largest:.2g}, largest logit {result.scale:.2g}"
    )
