"""`repghost export`: plain float32 ONNX or MNN of a checkpoint, checked against it before it is written."""

from __future__ import annotations

from pathlib import Path

import click

from repghost.commands.options.size_option import SizeType
from repghost.commands.progress.notes import say_notes
from repghost.sizes import Size, sides
from repghost.terminal import say
from repghost.untrusted import parse_int

DEFAULT_SIZE = 224
MOST_IMAGES = 65536  # of a batch
FORMATS = ("onnx", "mnn")


@click.command("export", short_help="Write plain float32 ONNX, or MNN.")
@click.argument("checkpoint", metavar="CKPT")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of the file.  [default: what OUT ends in]")
@click.option("--size", type=SizeType(1), help="Pixels of the picture; by default what the checkpoint says.")
@click.option("--batch", default="1", show_default=True, help="A number, or a name such as 'batch' to leave it open.")
@click.option("--width", help="Refuse a checkpoint of another width; chooses the file when CKPT is 'timm'.")
def command(checkpoint: str, output: Path, form: str | None, size: Size | None, batch: str, width: str | None) -> None:
    """Fuse CKPT completely and write it to OUT as ONNX (opset 17), for any runtime that reads ONNX, or as MNN.

    The file is run first, ONNX by onnx's own reference evaluator and MNN by MNN's interpreter (extra 'mnn'); if it
    differs from the checkpoint by more than rounding, nothing is written and the exit code is 6. CKPT is a weight
    file, or the word timm.
    """
    from repghost.checkpoints.checkpoint import build_model
    from repghost.checkpoints.timm_hub import open_checkpoint
    from repghost.data.images.preprocess import Preprocess
    from repghost.errors import UsageError
    from repghost.exporters.onnx import check_onnx, to_bytes, to_onnx
    from repghost.files import write_bytes_atomically
    from repghost.network.spec import parse_width

    form = _format(output, form)
    images = parse_int(batch, 1, MOST_IMAGES)
    if images is None and not batch.isidentifier():
        raise UsageError(f"--batch takes a number from 1 to {MOST_IMAGES} or a name, not {batch!r:.80}.")
    if form == "mnn" and batch != "1":
        raise UsageError(f"an MNN file is written for batch 1, not {batch}; leave --batch out, or write .onnx.")
    opened = open_checkpoint(checkpoint, None if width is None else parse_width(width, custom=True))
    say_notes(opened.notes)
    if size is None:
        size = Preprocess.from_dict(opened.preprocess).size if opened.preprocess else DEFAULT_SIZE
    rows, columns = sides(size)
    model = build_model(opened)
    proto = to_onnx(
        model,
        size,
        batch if images is None else images,
        opened.preprocess,
        opened.labels,
        {"repghost.checkpoint": opened.digest},
    )
    difference, data = check_onnx(proto, model), to_bytes(proto)
    if form == "mnn":
        from repghost.exporters.mnn import to_mnn

        data, difference = to_mnn(proto, model)
    write_bytes_atomically(output, data)
    say(f"written: {output} ({len(data)} bytes, input {opened.spec.in_chans} x {rows} x {columns}, batch {batch})")
    say(f"largest difference of a logit from the checkpoint: {difference:.2g}")


def _format(output: Path, form: str | None) -> str:
    """Return the format of a file; its name has to end in it."""
    from repghost.errors import UsageError

    allowed = (form,) if form else FORMATS
    if output.suffix.removeprefix(".") not in allowed:
        names = " or ".join(f".{name}" for name in allowed)
        raise UsageError(f"{output} has to end in {names}, not {output.suffix!r}.")
    return output.suffix.removeprefix(".")
