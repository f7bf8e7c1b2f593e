"""`repghost fuse`: fold a trained network into its deploy form and compare the two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from repghost.commands.options.earlier import output_file
from repghost.commands.progress.notes import say_notes
from repghost.terminal import say, say_next, shell_command

if TYPE_CHECKING:
    from repghost.api.networks.conversion import Fused


@click.command("fuse", short_help="Fold training branches and batch norms into plain convolutions.")
@click.argument("source", metavar="CKPT")
@output_file("The .safetensors file to write.")
@click.option("--full", is_flag=True, help="Fold every batch norm; otherwise 48 stay as in upstream's converted files.")
@click.option("--check", is_flag=True, help="Write nothing; compare --output, converted before, with CKPT.")
@click.option("--width", help="Refuse a checkpoint of another width; chooses the file when CKPT is 'timm'.")
@click.option("--branches", help="For a file that does not tell: bn, identity, both or none.")
def command(source: str, output: Path, full: bool, check: bool, width: str | None, branches: str | None) -> None:
    """Convert CKPT and write it as .safetensors, with its preprocessing and labels.

    Both networks run on the same random pictures first; if they differ by more than rounding, nothing is written and
    the exit code is 6. CKPT is a weight file, or the word timm with --width or bundled.
    """
    from repghost.api.networks.conversion import compare_converted, fuse_network

    if check:
        _tell(compare_converted(source, output, width, branches))
        return
    result = fuse_network(source, output, full=full, width=width, branches=branches)
    _tell(result)
    assert result.digest is not None
    tensors = len(result.model.state_dict())
    say(f"written: {output} ({tensors} tensors, {result.form} form, sha256 {result.digest[:16]})")
    say_next(shell_command("repghost", "export", output, "-o", output.with_suffix(".onnx")))


def _tell(result: Fused) -> None:
    say_notes(result.notes)
    found = result.equivalence
    if found is not None:
        say(
            f"same answers for {found.same_predictions} of {found.images} random pictures; largest difference of a "
            f"logit {found.largest:.2g}, largest logit {found.scale:.2g}"
        )
