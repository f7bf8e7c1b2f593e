"""Any float network by what a user calls it: a checkpoint of RepGhostNet, an ONNX file, or a name of a library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calib.importer.import_module import import_module
from calib.importer.import_onnx import import_onnx
from calib.importer.imported import Imported
from calib.importer.libraries.named import full_name, load_named
from calib.importer.names import ONNX, PRETRAINED, is_named
from repghost.checkpoints.checkpoint import Checkpoint, build_model
from repghost.checkpoints.timm_hub import open_checkpoint
from repghost.data.images.chosen_preprocess import resized, resolve_preprocess
from repghost.data.images.preprocess import Preprocess, read_preprocess
from repghost.errors import UsageError, option
from repghost.graph.digest import graph_digest
from repghost.graph.operators import Graph
from repghost.graph.trace import graph_of
from repghost.hub.download import source_name
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet
from repghost.network.spec import parse_width
from repghost.sizes import Size, sides
from repghost.untrusted import parse_json

PREPROCESS = "repghost.preprocess"  # the key of a file's metadata, as `repghost export` writes it
BARE_NAME = re.compile(r"(?!timm$|bundled$)[a-z0-9_]+(\.[a-z0-9_]+)?")  # as libraries call networks
MOST_LETTERS = 64  # of a name: it becomes part of a folder's


@dataclass(frozen=True)
class NetworkSource:
    """What a user says about a float network.

    Attributes:
        network: a weight file, an ONNX file, "timm" for the published weights of a width, or "timm:NAME" or
            "torchvision:NAME".
        weights: for a name: a weight file, or "pretrained".
        width: of a RepGhostNet; another one is refused.
        size: of the images, in pixels; None takes the network's own.
        preprocess: how images are prepared, instead of what the network says: a JSON file, or the value.
    """

    network: str
    weights: str | None = None
    width: str | None = None
    size: Size | None = None
    preprocess: Path | Preprocess | None = None


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A float network with all that is known about it.

    Attributes:
        name: letters, digits, "_" and "-".
        digest: SHA-256 of the checkpoint's file, or of the graph.
        origin: for reports: "kind" and "source".
        graph: its operators, batch norms folded.
        classes: how many scores it gives.
        labels: the names of the classes; None where nothing says them.
        preprocess: how its images are prepared.
        notes: what the user should know, one sentence each.
        checkpoint: the file of a RepGhostNet; None for any other network.
        model: the RepGhostNet in the form of its checkpoint; None for any other network.
        detection: how a detector's numbers become boxes, `BoxRule.to_dict()`; None for any other network.
    """

    name: str
    digest: str
    origin: Mapping[str, Any]
    graph: Graph
    classes: int
    labels: tuple[str, ...] | None
    preprocess: Preprocess
    notes: tuple[str, ...] = ()
    checkpoint: Checkpoint | None = None
    model: RepGhostNet | None = None
    detection: Mapping[str, Any] | None = None


def open_network(source: NetworkSource) -> FloatNetwork:
    """Return the network that a user means.

    Raises:
        UsageError: when it cannot be read, holds what a graph does not have, or options do not belong to it.
    """
    if is_named(source.network):
        return _named(source)
    if source.weights is not None:
        raise UsageError(
            f"weights are given beside {source.network!r}, which is a file of its own. They belong to a name, e.g. "
            "timm:mobilenetv2_100."
        )
    return _onnx_file(source) if source.network.endswith(ONNX) else _repghostnet(source)


def _repghostnet(source: NetworkSource) -> FloatNetwork:
    _refuse_bare_name(source.network)
    multiplier = None if source.width is None else parse_width(source.width, custom=True)
    checkpoint = open_checkpoint(source.network, multiplier)
    preprocess = resolve_preprocess(checkpoint.preprocess, checkpoint.spec.num_classes, source.preprocess)
    model = build_model(checkpoint)
    return FloatNetwork(
        name=checkpoint.spec.name,
        digest=checkpoint.digest,
        origin={"kind": "file", "source": source_name(source.network), "sha256": checkpoint.digest},
        graph=graph_of(fused(model)),
        classes=checkpoint.spec.num_classes,
        labels=checkpoint.labels,
        preprocess=resized(preprocess, source.size),
        notes=checkpoint.notes,
        checkpoint=checkpoint,
        model=model,
    )


def _refuse_bare_name(network: str) -> None:
    """Refuse the name of an architecture where a weight file is meant.

    Raises:
        UsageError: with what to give instead.
    """
    if not BARE_NAME.fullmatch(network) or Path(network).exists():
        return
    if network.startswith("repghostnet_"):
        raise UsageError(
            f"{network} is a network without weights. Give a weight file of it; timm's, which are fetched, are 'timm' "
            f"with {option('width')}, and 'bundled' comes with the package."
        )
    if (name := full_name(network)) is not None:
        raise UsageError(f"there is no file {network!r}; the network of that name is {name!r}.")


def _onnx_file(source: NetworkSource) -> FloatNetwork:
    path = Path(source.network)
    _refuse_width(source)
    given = None if source.size is None else sides(source.size)
    imported = import_onnx(path, given)
    said = dict(imported.metadata).get(PREPROCESS)
    stored = parse_json(said, f"metadata {PREPROCESS!r} of {path}") if said else None
    if stored is not None and not isinstance(stored, dict):
        raise UsageError(f"{path}: metadata {PREPROCESS!r} is no JSON object; write the file again.")
    preprocess = resolve_preprocess(stored, imported.classes, source.preprocess)
    return _imported(
        path.name.removesuffix(ONNX), {"kind": "file", "source": source_name(source.network)}, imported, preprocess
    )


def _named(source: NetworkSource) -> FloatNetwork:
    _refuse_width(source)
    if source.weights is None:
        raise UsageError(
            f"{source.network} needs weights: give {option('weights', 'FILE')}, a weight file of that network, or "
            f"{option('weights', 'pretrained')} for the published ones."
        )
    named = load_named(source.network, source.weights)
    preprocess = named.preprocess if source.preprocess is None else read_preprocess(source.preprocess)
    preprocess = resized(preprocess, source.size)
    imported = import_module(named.module, sides(preprocess.size), preprocess.channels, source.network)
    imported = replace(imported, labels=named.labels or imported.labels, notes=(*named.notes, *imported.notes))
    name = source.network.partition(":")[2]
    kind = "file" if source.weights != PRETRAINED else source.network.partition(":")[0]
    return _imported(name, {"kind": kind, "source": named.source}, imported, preprocess)


def _imported(name: str, origin: dict[str, Any], imported: Imported, preprocess: Preprocess) -> FloatNetwork:
    """Return an imported network with how its images are prepared.

    Raises:
        UsageError: when they are of another size or of other colours than the network takes.
    """
    if sides(preprocess.size) != imported.size:
        preprocess = resized(preprocess, imported.size[0] if len({*imported.size}) == 1 else imported.size)
    if preprocess.channels != imported.channels:
        raise UsageError(
            f"{name} takes {imported.channels} colours, and its pictures are prepared with {preprocess.channels}. Give "
            f"{option('preprocess', 'FILE')} with as many numbers in mean and std."
        )
    digest = graph_digest(imported.graph)
    return FloatNetwork(
        name=re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:MOST_LETTERS].strip("-") or "network",
        digest=digest,
        origin={**origin, "sha256": digest},
        graph=imported.graph,
        classes=imported.classes,
        labels=imported.labels,
        preprocess=preprocess,
        notes=imported.notes,
    )


def _refuse_width(source: NetworkSource) -> None:
    if source.width is not None:
        raise UsageError(
            f"{option('width', source.width)} belongs to RepGhostNet, not to {source.network}; leave it out."
        )
