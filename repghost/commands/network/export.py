"""`repghost export`: plain float32 ONNX or MNN of a checkpoint, checked against it before it is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from calib.importer.names import is_library_or_onnx
from repghost.commands.options.size_option import SizeType
from repghost.commands.progress.notes import say_notes
from repghost.errors import UsageError
from repghost.sizes import Size
from repghost.terminal import say
from repghost.untrusted import parse_int

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

DEFAULT_SIZE = 224
MOST_IMAGES = 65536  # of a batch
FORMATS = ("onnx", "mnn")


@click.command("export", short_help="Write plain float32 ONNX, or MNN.")
@click.argument("checkpoint", metavar="NETWORK")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of the file.  [default: what OUT ends in]")
@click.option("--size", type=SizeType(1), help="Pixels of the picture; by default what the checkpoint says.")
@click.option("--batch", default="1", show_default=True, help="A number, or a name such as 'batch' to leave it open.")
@click.option("--width", help="Refuse a checkpoint of another width; chooses the file when CKPT is 'timm'.")
@click.option("--preprocess", type=click.Path(path_type=Path), help="JSON, for a network that does not say it.")
@click.option("--weights", help="Of a network that is named, timm:NAME: a weight file, or 'pretrained'.")
def command(
    checkpoint: str,
    output: Path,
    form: str | None,
    size: Size | None,
    batch: str,
    width: str | None,
    preprocess: Path | None,
    weights: str | None,
) -> None:
    """Fold NETWORK completely and write it to OUT as ONNX (opset 17), for any runtime that reads ONNX, or as MNN.

    The file is run first, ONNX by onnx's own reference evaluator and MNN by MNN's interpreter (extra 'mnn'); if it
    differs from the network by more than rounding, nothing is written and the exit code is 6. NETWORK is a checkpoint
    of RepGhostNet, the word timm, a float ONNX file, or timm:NAME or torchvision:NAME with --weights.
    """
    from repghost.exporters.onnx import check_onnx, to_bytes
    from repghost.files import write_bytes_atomically

    form = _format(output, form)
    images = parse_int(batch, 1, MOST_IMAGES)
    if images is None and not batch.isidentifier():
        raise UsageError(f"--batch takes a number from 1 to {MOST_IMAGES} or a name, not {batch!r:.80}.")
    if form == "mnn" and batch != "1":
        raise UsageError(f"an MNN file is written for batch 1, not {batch}; leave --batch out, or write .onnx.")
    wanted = Wanted(checkpoint, weights, width, size, preprocess, batch if images is None else images)
    if is_library_or_onnx(checkpoint):
        proto, model = _other_network(wanted)
    else:
        proto, model = _repghostnet(wanted)
    difference, data = check_onnx(proto, model), to_bytes(proto)
    if form == "mnn":
        from repghost.exporters.mnn import to_mnn

        data, difference = to_mnn(proto, model)
    write_bytes_atomically(output, data)
    shape = [dimension.dim_value for dimension in proto.graph.input[0].type.tensor_type.shape.dim[1:]]
    say(f"written: {output} ({len(data)} bytes, input {' x '.join(map(str, shape))}, batch {batch})")
    say(f"largest difference of a logit from the network: {difference:.2g}")


@dataclass(frozen=True)
class Wanted:
    """What is exported, each option under its own name."""

    network: str
    weights: str | None
    width: str | None
    size: Size | None
    preprocess: Path | None
    batch: int | str


def _repghostnet(wanted: Wanted) -> tuple[ModelProto, nn.Module]:
    """Return the file of a checkpoint and the network that it has to agree with."""
    from repghost.checkpoints.checkpoint import build_model
    from repghost.checkpoints.timm_hub import open_checkpoint
    from repghost.data.images.preprocess import Preprocess
    from repghost.exporters.onnx import to_onnx
    from repghost.network.spec import parse_width

    if wanted.weights is not None:
        raise UsageError("--weights belongs to a network that is named, e.g. timm:mobilenetv2_100; leave it out.")
    opened = open_checkpoint(wanted.network, None if wanted.width is None else parse_width(wanted.width, custom=True))
    say_notes(opened.notes)
    said = Preprocess.from_dict(opened.preprocess).size if opened.preprocess else DEFAULT_SIZE
    model = build_model(opened)
    metadata = {"repghost.checkpoint": opened.digest}
    return to_onnx(model, wanted.size or said, wanted.batch, opened.preprocess, opened.labels, metadata), model


def _other_network(wanted: Wanted) -> tuple[ModelProto, nn.Module]:
    """Return the file of any other network and the network that it has to agree with."""
    from calib.importer.open_network import PREPROCESS, NetworkSource, open_network
    from repghost.exporters.onnx import graph_onnx
    from repghost.graph.module import GraphModule

    network = open_network(NetworkSource(wanted.network, wanted.weights, wanted.width, wanted.size, wanted.preprocess))
    say_notes(network.notes)
    texts = {PREPROCESS: json.dumps(network.preprocess.to_dict(), sort_keys=True)}
    texts |= {"repghost.weights_sha256": network.digest}
    texts |= {} if network.labels is None else {"repghost.labels": json.dumps(list(network.labels), ensure_ascii=False)}
    proto = graph_onnx(network.graph, network.preprocess.size, network.name, wanted.batch, texts)
    return proto, GraphModule(network.graph).eval()


def _format(output: Path, form: str | None) -> str:
    """Return the format of a file; its name has to end in it."""
    allowed = (form,) if form else FORMATS
    if output.suffix.removeprefix(".") not in allowed:
        names = " or ".join(f".{name}" for name in allowed)
        raise UsageError(f"{output} has to end in {names}, not {output.suffix!r}.")
    return output.suffix.removeprefix(".")
