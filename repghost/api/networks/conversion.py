"""A float network in another form: fused (`repghost.fuse`), or as a file of another framework (`repghost.export`)."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto
from torch import nn

from calib.importer.names import is_library_or_onnx
from calib.importer.open_network import PREPROCESS, FloatNetwork
from repghost.api.networks.opened import NetworkLike, PreprocessLike, open_float, warn_of_training, with_facts
from repghost.checkpoints.checkpoint import Checkpoint, build_model, read_checkpoint, write_checkpoint
from repghost.checkpoints.timm_hub import SOURCE, open_checkpoint
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, option, unknown_value
from repghost.exporters.mnn import to_mnn
from repghost.exporters.onnx import check_onnx, graph_onnx, to_bytes, to_onnx
from repghost.files import write_bytes_atomically
from repghost.graph.module import GraphModule
from repghost.network.fuse import Equivalence, check_equivalence
from repghost.network.fuse import fuse as fuse_fully
from repghost.network.model import RepGhostNet, repghost_model_convert
from repghost.network.spec import BRANCHES, Branches, parse_width
from repghost.sizes import Size
from repghost.terminal import Shown
from repghost.untrusted import parse_int

DEFAULT_SIZE = 224
MOST_IMAGES = 65536  # of a batch
FORMATS = ("onnx", "mnn")


@dataclass(frozen=True, eq=False, repr=False)
class Fused(Shown):
    """A network whose training branches are folded.

    Attributes:
        model: the network.
        equivalence: how it compares with the one before; None for one that is no RepGhostNet, and was folded exactly
            where its graph was read.
        digest: SHA-256 of the file that was written; None where none was.
        notes: what to know of the weights.
    """

    model: nn.Module
    equivalence: Equivalence | None
    digest: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """The form of a RepGhostNet: "deploy" or "fused"; any other network is fused."""
        return self.model.spec.form if isinstance(self.model, RepGhostNet) else "fused"

    def __repr__(self) -> str:
        return f"{type(self.model).__name__} in {self.form} form"


def fuse(
    network: NetworkLike,
    output: str | os.PathLike[str] | None = None,
    *,
    full: bool = False,
    width: str | None = None,
    branches: str | None = None,
    preprocess: PreprocessLike = None,
) -> nn.Module:
    """Return a network with its training branches folded into plain convolutions; the network itself stays.

    Both forms run on the same random images; where they differ by more than rounding, nothing is returned or written.

    Args:
        network: a RepGhostNet as a module or a checkpoint; of any other network every batch norm is folded.
        output: the .safetensors file to write, with preprocessing and labels; None: none.
        full: fold every batch norm of a RepGhostNet; otherwise 48 stay, as in upstream's converted files.
        width: refuse a checkpoint of another width.
        branches: of a file that does not tell: "bn", "identity", "both" or "none".
        preprocess: of another network that does not say it.

    Raises:
        UsageError: when the network cannot be read, or was fused before and `full` is not given.
        IntegrityError: when the two forms do not compute the same.
    """
    return fuse_network(network, output, full=full, width=width, branches=branches, preprocess=preprocess).model


def fuse_network(
    network: NetworkLike,
    output: str | os.PathLike[str] | None = None,
    *,
    full: bool = False,
    width: str | None = None,
    branches: str | None = None,
    preprocess: PreprocessLike = None,
) -> Fused:
    """Return what `fuse` does, with how the two forms compare (arguments and errors as there)."""
    if isinstance(network, RepGhostNet):
        warn_of_training(network)
        before, original = copy.deepcopy(network).eval(), None
    elif isinstance(network, str | os.PathLike) and not is_library_or_onnx(str(network)):
        original = open_original(network, width, branches)
        before = build_model(original)
    else:
        return _fuse_other(network, output, preprocess)
    file = None if output is None else Path(output)
    _check_output(file, network)
    if before.spec.form == "fused" and not full:
        raise UsageError(
            f"{_named(network)} is fully fused already; there is no way back to 48 batch norms. Use "
            f"{option('full', True)}."
        )
    after = fuse_fully(before) if full else repghost_model_convert(before)
    equivalence = check_equivalence(before, after)
    said, labels = _facts(network, original)
    if said is not None:
        with_facts(after, Preprocess.from_dict(said), labels)
    notes = original.notes if original is not None else ()
    if file is None:
        return Fused(after, equivalence, notes=notes)
    metadata = {} if original is None else {**original.metadata, "converted_from": original.digest}
    return Fused(after, equivalence, write_checkpoint(file, after, said, labels, metadata), notes)


def compare_converted(
    network: str, converted: str | os.PathLike[str], width: str | None, branches: str | None
) -> Fused:
    """Return how a file that was converted before compares with the checkpoint it came from.

    Raises:
        UsageError: when it was made from another network.
        IntegrityError: when the two do not compute the same.
    """
    original = open_original(network, width, branches)
    before, after = build_model(original), build_model(read_checkpoint(Path(converted)))
    if (after.spec.in_chans, after.num_classes) != (before.spec.in_chans, before.num_classes):
        raise UsageError(
            f"{str(converted)!r} has other channels or classes than {network!r}; it was made from another."
        )
    return Fused(after, check_equivalence(before, after), notes=original.notes)


def open_original(network: str | os.PathLike[str], width: str | None, branches: str | None) -> Checkpoint:
    """Return a checkpoint of RepGhostNet by a path or the word timm."""
    multiplier = None if width is None else parse_width(width, custom=True)
    if str(network) == SOURCE:
        return open_checkpoint(SOURCE, multiplier)
    return read_checkpoint(str(network), width=multiplier, branches=_checked_branches(branches))


@dataclass(frozen=True, repr=False)
class Exported(Shown):
    """A float network as a file.

    Attributes:
        path: of the file.
        size_bytes: of the file.
        shape: of its input without the batch: channels, height, width.
        difference: the largest difference of a logit from the network.
        notes: what to know of the weights.
    """

    path: Path
    size_bytes: int
    shape: tuple[int, ...]
    difference: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return (
            f"{self.path} ({self.size_bytes} bytes, input {size}); largest difference of a logit from the network: "
            f"{self.difference:.2g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {**vars(self), "path": str(self.path), "shape": list(self.shape), "notes": list(self.notes)}


def export(
    network: NetworkLike,
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    size: Size | None = None,
    batch: int | str = 1,
    width: str | None = None,
    preprocess: PreprocessLike = None,
    weights: str | os.PathLike[str] | None = None,
) -> Exported:
    """Write a network as float32 ONNX (opset 17) or MNN, every batch norm folded, and return what was written.

    The file is run first; where it differs from the network by more than rounding, nothing is written.

    Args:
        network: see `repghost.quantize`.
        output: the file, which ends in .onnx or .mnn.
        format: "onnx" or "mnn"; None: what the file's name ends in.
        size: pixels of the images, instead of the network's own.
        batch: a number, or a name such as "batch" to leave it open.
        width: of a RepGhostNet; another one is refused.
        preprocess: how images are prepared, where the network does not say.
        weights: of a name: a weight file, or "pretrained".

    Raises:
        UsageError: when the network cannot be read, or the name does not fit the format.
        ToolMissingError: for MNN where its package is not installed.
        IntegrityError: when the file does not compute what the network does.
    """
    file = Path(output)
    form = _format(file, format)
    images = batch if isinstance(batch, int) else parse_int(batch, 1, MOST_IMAGES)
    if (images is None and not str(batch).isidentifier()) or (images is not None and not 1 <= images <= MOST_IMAGES):
        raise UsageError(f"{option('batch')} takes a number from 1 to {MOST_IMAGES} or a name, not {batch!r:.80}.")
    if form == "mnn" and images != 1:
        raise UsageError(
            f"an MNN file is written for batch 1, not {batch}; leave {option('batch')} out, or write .onnx."
        )
    together = batch if images is None else images
    proto, model, notes = _as_onnx(network, together, size, width, preprocess, weights)
    difference, data = check_onnx(proto, model), to_bytes(proto)
    if form == "mnn":
        data, difference = to_mnn(proto, model)
    write_bytes_atomically(file, data)
    dimensions = proto.graph.input[0].type.tensor_type.shape.dim[1:]
    return Exported(file, len(data), tuple(int(it.dim_value) for it in dimensions), difference, notes)


def _as_onnx(
    network: NetworkLike,
    batch: int | str,
    size: Size | None,
    width: str | None,
    preprocess: PreprocessLike,
    weights: str | os.PathLike[str] | None,
) -> tuple[ModelProto, nn.Module, tuple[str, ...]]:
    """Return the file of a network, the network that it has to agree with, and notes."""
    if isinstance(network, str | os.PathLike) and not is_library_or_onnx(str(network)):
        if weights is not None:
            raise UsageError(
                f"{option('weights')} belongs to a network that is named, e.g. timm:mobilenetv2_100; leave it out."
            )
        opened = open_checkpoint(str(network), None if width is None else parse_width(width, custom=True))
        said = Preprocess.from_dict(opened.preprocess).size if opened.preprocess else DEFAULT_SIZE
        model = build_model(opened)
        metadata = {"repghost.checkpoint": opened.digest}
        proto = to_onnx(model, size or said, batch, opened.preprocess, opened.labels, metadata)
        return proto, model, opened.notes
    if width is not None:
        raise UsageError(f"{option('width', width)} belongs to RepGhostNet, not to {_named(network)}; leave it out.")
    found = open_float(network, preprocess, None, weights, size)
    texts = {PREPROCESS: json.dumps(found.preprocess.to_dict(), sort_keys=True)}
    texts |= {"repghost.weights_sha256": found.digest}
    texts |= {} if found.labels is None else {"repghost.labels": json.dumps(list(found.labels), ensure_ascii=False)}
    proto = graph_onnx(found.graph, found.preprocess.size, found.name, batch, texts)
    return proto, GraphModule(found.graph).eval(), found.notes


def _fuse_other(network: NetworkLike, output: str | os.PathLike[str] | None, preprocess: PreprocessLike) -> Fused:
    """Return any other network as its graph, whose batch norms are folded."""
    if output is not None:
        raise UsageError(
            f"{_named(network)} is no RepGhostNet, and only checkpoints of these are written by fuse; repghost.export "
            "writes any network as ONNX."
        )
    found: FloatNetwork = open_float(network, preprocess)
    module = with_facts(GraphModule(found.graph).eval(), found.preprocess, found.labels)
    return Fused(module, None, notes=found.notes)


def _facts(network: object, original: Checkpoint | None) -> tuple[dict[str, Any] | None, tuple[str, ...] | None]:
    """Return the preprocessing and the labels of a RepGhostNet, where they are known."""
    if original is not None:
        return original.preprocess, original.labels
    known = network.__dict__.get("preprocess")
    return (known.to_dict() if isinstance(known, Preprocess) else None), network.__dict__.get("labels")


def _check_output(output: Path | None, network: object) -> None:
    """Refuse a name that is none of a checkpoint, and the file that is read."""
    if output is None:
        return
    if output.suffix != ".safetensors":
        raise UsageError(f"a converted file is safetensors; its name must end in .safetensors, not {output.suffix!r}.")
    source = Path(network) if isinstance(network, str | os.PathLike) else None
    if source is not None and output.exists() and source.exists() and output.samefile(source):
        raise UsageError(
            f"{str(output)!r} is the checkpoint itself; conversion cannot be undone, so the original is kept. Give "
            "another name."
        )


def _checked_branches(branches: str | None) -> Branches | None:
    if branches is not None and branches not in BRANCHES:
        raise unknown_value("branches", branches, BRANCHES)
    return branches


def _named(network: object) -> str:
    return repr(str(network)) if isinstance(network, str | os.PathLike) else type(network).__name__


def _format(output: Path, form: str | None) -> str:
    """Return the format of a file; its name has to end in it."""
    if form is not None and form not in FORMATS:
        raise unknown_value("format", form, FORMATS)
    allowed = (form,) if form else FORMATS
    if output.suffix.removeprefix(".") not in allowed:
        names = " or ".join(f".{name}" for name in allowed)
        raise UsageError(f"{output} has to end in {names}, not {output.suffix!r}.")
    return output.suffix.removeprefix(".")
