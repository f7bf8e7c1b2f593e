"""Checkpoints: weights with everything needed to rebuild and to feed the network they belong to.

Read are upstream's training files (timm's CheckpointSaver), their converted state dicts, timm's safetensors, those of
other training loops (`repghost.checkpoints.weight_names`), and what `write_checkpoint` writes: safetensors whose header
holds the spec, the preprocessing and the labels as JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from repghost import bundled
from repghost.checkpoints.identify import identify, validated
from repghost.checkpoints.sharded import is_index, read_shards, shard_note
from repghost.checkpoints.weight_files import HEADER_LIMIT, WeightFile, parse_weights, read_file_bytes
from repghost.checkpoints.weight_names import averaged_note, without_prefix
from repghost.errors import UsageError, unknown_value
from repghost.files import write_bytes_atomically
from repghost.hub.download import local_file
from repghost.network.fuse import empty_model
from repghost.network.model import RepGhostNet
from repghost.network.spec import BRANCHES, Branches, Form, ModelSpec
from repghost.untrusted import open_regular, parse_json

HEADER_KEY = "repghost"  # the only key: safetensors does not keep an order, and equal content must give equal bytes
HEADER_VERSION = 1
DETECTOR_KEY = "repghost-detector"  # of files of detectors, which this module tells apart and does not read


@dataclass(frozen=True)
class Checkpoint:
    """The content of one weight file, complete and checked.

    Attributes:
        state_dict: float32 weights and int64 counters in the network's order.
        spec: how to build the network.
        preprocess: what `Preprocess.to_dict` gave, None when the file does not say.
        labels: one name per class, None when the file does not say.
        metadata: whatever else was stored: epoch, metric, recipe.
        digest: sha256 of the file, hexadecimal; of several files, of their index and content one after the other.
    """

    state_dict: dict[str, Tensor]
    spec: ModelSpec
    preprocess: dict[str, Any] | None
    labels: tuple[str, ...] | None
    metadata: dict[str, Any]
    digest: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user of the file is told: which of its weights were taken, where it has several kinds."""
        note = averaged_note(self.metadata)
        return (note,) if note else ()


def is_detector(path: Path) -> bool:
    """Return whether a file says that it is a detector; nothing but its header is read."""
    path = local_file(path)
    if not path.is_file():
        return False
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        return length <= HEADER_LIMIT and f'"{DETECTOR_KEY}"'.encode() in file.read(length)


def read_checkpoint(
    path: str | Path,
    *,
    width: float | None = None,
    form: Form | None = None,
    branches: Branches | None = None,
    prefer_ema: bool = True,
) -> Checkpoint:
    """Return the checked content of a weight file; nothing the file contains is executed.

    Args:
        path: the file; "bundled" for the one that comes with the package.
        width: refuse another width.
        form: refuse another form.
        branches: what a train form without `fusion_bn` tensors had beside its depthwise convolutions.
        prefer_ema: take the averaged weights of a training file that has both kinds.

    Raises:
        UsageError: when the file is absent, damaged, hostile, of another network, or its values are not finite.
    """
    path = bundled.resolve(path, bundled.WEIGHTS)
    if branches is not None and branches not in BRANCHES:
        raise unknown_value("branches", branches, BRANCHES)
    data = read_file_bytes(path)
    if is_index(path):
        content, digest = read_shards(path, data)
    else:
        content, digest = parse_weights(data, path, prefer_ema), hashlib.sha256(data).hexdigest()
    if DETECTOR_KEY in content.header:
        raise UsageError(
            f"{path} is a detector, and a classifier is needed here; 'repghost quantize' and 'detect-validate' take it."
        )
    try:
        own = _own_header(content)
        tensors = content.tensors if own else without_prefix(content.tensors)
        spec = ModelSpec.from_dict(own["spec"]) if own else identify(tensors, branches)
        state_dict = validated(tensors, spec)
        labels = _checked_labels(own.get("labels"), spec)
    except UsageError as error:
        raise UsageError(f"checkpoint {str(path)!r}: {error}{shard_note(path)}") from error
    _refuse_other(path, spec, width, form)
    metadata = dict(own["metadata"]) if own else {**content.header, **content.notes}
    return Checkpoint(state_dict, spec, own.get("preprocess"), labels, metadata, digest)


def build_model(checkpoint: Checkpoint) -> RepGhostNet:
    """Return the network of a checkpoint with copies of its weights, in evaluation mode."""
    model = empty_model(checkpoint.spec)
    model.load_state_dict({name: tensor.clone() for name, tensor in checkpoint.state_dict.items()}, assign=True)
    return model.eval()


def write_checkpoint(
    path: str | Path,
    model: RepGhostNet,
    preprocess: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> str:
    """Write a network as safetensors with its spec inside, whole or not at all; equal content gives equal bytes.

    Args:
        path: the file to write.
        model: any form.
        preprocess: `Preprocess.to_dict()` of the images it was trained on.
        labels: one name per class, in the order of the logits.
        metadata: JSON values worth keeping, e.g. recipe, epoch, metric.

    Returns:
        The file's sha256, hexadecimal.

    Raises:
        UsageError: when the weights are not finite, the labels do not fit, or a value is not JSON.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    state_dict = validated(tensors, model.spec)
    header = {
        "version": HEADER_VERSION,
        "spec": model.spec.to_dict(),
        "preprocess": None if preprocess is None else dict(preprocess),
        "labels": _checked_labels(None if labels is None else list(labels), model.spec),
        "metadata": dict(metadata or {}),
    }
    try:
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the checkpoint's metadata must be JSON values: {error}.") from error
    data = safetensors.torch.save(state_dict, {HEADER_KEY: text})
    write_bytes_atomically(Path(path), data)
    return hashlib.sha256(data).hexdigest()


def load_model(path: str | Path, *, width: float | None = None, form: Form | None = None) -> RepGhostNet:
    """Return the network of a weight file in evaluation mode; arguments and errors as `read_checkpoint`."""
    return build_model(read_checkpoint(path, width=width, form=form))


def _own_header(content: WeightFile) -> dict[str, Any]:
    """Return the JSON that `write_checkpoint` stored, {} for a foreign file."""
    if HEADER_KEY not in content.header:
        return {}
    header = parse_json(content.header[HEADER_KEY], "its header", HEADER_LIMIT)
    if not isinstance(header, dict) or "version" not in header:
        raise UsageError("its header has no version; the file is damaged, or another program wrote it.")
    if type(header["version"]) is not int or header["version"] != HEADER_VERSION:
        raise UsageError(
            f"its header has version {header['version']!r:.80}; this program reads version {HEADER_VERSION}. Update "
            "the program."
        )
    for key, kinds in (("spec", dict), ("metadata", dict), ("preprocess", dict | None), ("labels", list | None)):
        if not isinstance(header.get(key), kinds):
            raise UsageError(f"its header's {key!r} is a {type(header.get(key)).__name__}; the file is damaged.")
    return header


def _checked_labels(labels: list[Any] | None, spec: ModelSpec) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if not all(isinstance(label, str) for label in labels) or len(labels) != spec.num_classes:
        raise UsageError(f"{len(labels)} labels for {spec.num_classes} classes; each class needs one text.")
    return tuple(labels)


def _refuse_other(path: Path, spec: ModelSpec, width: float | None, form: Form | None) -> None:
    if width is not None and spec.width != width:
        raise UsageError(
            f"checkpoint {str(path)!r} has width {spec.width:g}, not {width:g} as asked for. Leave the width out to "
            "take the file's, or give the file of the other width."
        )
    if form is not None and spec.form != form:
        raise UsageError(
            f"checkpoint {str(path)!r} is in {spec.form} form where the {form} form is needed. Conversion cannot be "
            "undone; give the checkpoint the training wrote."
        )
