"""A checkpoint, a quantized network or a bundle to the Hugging Face hub: `repghost.push`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calib.importer.names import ONNX
from calib.importer.onnx_file import MAX_FILE_BYTES, is_quantized, parse_model
from calib.qdq.writer import LABELS, MODEL, PREPROCESS, QUANTIZATION
from compile.bundle.manifest import MANIFEST, check_bundle
from compile.bundle.signing import MOST_BYTES, signature_path
from compile.storage.files import sha256
from repghost.api.bundles import as_file
from repghost.api.publishing.cards import DETECTION, Facts, bundle_card, file_card
from repghost.checkpoints.checkpoint import is_detector, read_checkpoint
from repghost.checkpoints.weight_files import SIZE_LIMIT
from repghost.data.images.preprocess import Preprocess
from repghost.errors import IntegrityError, UsageError
from repghost.hub.address import Address, is_address, parse_address
from repghost.hub.download import WEIGHTS
from repghost.hub.upload import upload
from repghost.network.spec import model_name
from repghost.terminal import Shown
from repghost.untrusted import parse_json, read_bounded

SAFETENSORS, CARD_SUFFIX, CARD_LIMIT = ".safetensors", ".md", 1 << 20
QUANTIZED_FILE, FLOAT_FILE = "model.qdq.onnx", "model.onnx"


@dataclass(frozen=True, repr=False)
class Pushed(Shown):
    """What lies on the hub now.

    Attributes:
        address: of what was pushed, with its commit.
        files: the SHA-256 of each file, by path in the repository.
    """

    address: str
    files: Mapping[str, str]

    def __repr__(self) -> str:
        return "\n".join([f"pushed: {self.address}", *(f"  {path}  {digest}" for path, digest in self.files.items())])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"address": self.address, "files": dict(self.files)}


def push(
    network: str | os.PathLike[str] | Any, address: str, *, private: bool = False, message: str | None = None
) -> Pushed:
    """Bring a network to the Hugging Face hub, with a model card, in one commit.

    You have to be logged in: `hf auth login`, or HF_TOKEN. The card lies beside the file as PATH.md, and becomes the
    README.md of a repository that has none.

    Args:
        network: a checkpoint (.safetensors), an ONNX file, the folder of a bundle, or what `repghost.quantize` or
            `compile` returned.
        address: hf://USER/NAME, a branch after @ and a path after /, e.g. hf://me/birds/small.safetensors; without a
            path model.safetensors, model.qdq.onnx, model.onnx, or TARGET/PRECISION of a bundle.
        private: whether a repository that is made here is shown to its owner only.
        message: of the commit.

    Raises:
        UsageError: when the network is none of these, or you may not write there.
        IntegrityError: when a bundle was changed.
        RepGhostError: when the hub does not answer within 5 s.
        ToolMissingError: when huggingface_hub is not installed.
    """
    where = parse_address(address)
    with as_file(network) as path:
        if is_address(path):
            raise UsageError(f"{path} is on the hub already; give a file or a folder of this machine.")
        where, files, card = _of_bundle(path, where) if path.is_dir() else _of_file(path, where)
    digests = {name: sha256(data) for name, data in files.items()}
    content: dict[str, Path | bytes] = {**files, f"{where.path}{CARD_SUFFIX}": card.encode()}
    done = upload(where, content, card, message or f"Add {where.path} with repghost", private=private)
    return Pushed(str(done), digests)


def _of_bundle(path: Path, where: Address) -> tuple[Address, dict[str, bytes], str]:
    """Return where a bundle goes, its files as they were checked, and its card."""
    bundle = check_bundle(path)
    place = where.path or f"{bundle.target_name}/{bundle.manifest['precision']}"
    manifest = read_bounded(path / MANIFEST, MOST_BYTES, error=IntegrityError, follow_links=False)
    if sha256(manifest) != bundle.digest:
        raise IntegrityError(f"{path / MANIFEST} changed while it was read. Try again when nothing writes to it.")
    files = {f"{place}/{name}": bundle.read(name) for name in sorted(bundle.manifest["files"])}
    files[f"{place}/{MANIFEST}"] = manifest
    signature, beside = signature_path(path), path.resolve().with_name(f"{path.resolve().name}{CARD_SUFFIX}")
    if signature.is_file():
        files[f"{place}{signature.suffix}"] = read_bounded(signature, MOST_BYTES)
    if beside.is_file():  # as `repghost report` writes it
        card = read_bounded(beside, CARD_LIMIT).decode("utf-8", "replace")
    else:
        card = bundle_card(bundle.manifest, bundle.digest, place)
    return replace(where, path=place), files, card


def _of_file(path: Path, where: Address) -> tuple[Address, dict[str, bytes], str]:
    """Return where a file goes, its content, and its card."""
    if path.suffix not in (SAFETENSORS, ONNX):
        raise UsageError(
            f"{path} is not pushed: a checkpoint has to be safetensors, because reading a pickle can run what is in "
            "it; besides, ONNX files and folders of bundles are. 'repghost fuse' writes safetensors of a .pth."
        )
    data = read_bounded(path, SIZE_LIMIT if path.suffix == SAFETENSORS else MAX_FILE_BYTES)
    usual, facts = _of_checkpoint(path, data) if path.suffix == SAFETENSORS else _of_onnx(path, data)
    where = replace(where, path=where.path or usual)
    if not where.path.endswith(path.suffix):
        raise UsageError(f"{where} has to end in {path.suffix}, as {path.name} does.")
    return where, {where.path: data}, file_card(facts, where, {where.path: sha256(data)})


def _of_checkpoint(path: Path, data: bytes) -> tuple[str, Facts]:
    if is_detector(path):
        return WEIGHTS, _of_detector(path)
    found = read_checkpoint(path)
    if found.digest != sha256(data):
        raise IntegrityError(f"{path} changed while it was read. Try again when nothing writes to it.")
    kind, spec = "float32 checkpoint", found.spec
    made = {key: value for key, value in found.metadata.items() if key != "license"}
    return WEIGHTS, Facts(
        spec.name, kind, ("fp32", "pytorch", "safetensors"), spec.num_classes, found.labels, found.preprocess, made,
        str(found.metadata.get("license", "")),
    )  # fmt: skip


def _of_detector(path: Path) -> Facts:
    from repghost.detection.checkpoint import read_detector  # with torchvision, which other networks need not load

    found = read_detector(path)
    return Facts(
        f"{found.recipe.kind} on {model_name(found.recipe.width)}",
        "float32 detector",
        ("fp32", "pytorch", "safetensors"),
        len(found.categories),
        tuple(category.name for category in found.categories),
        None,
        found.metadata,
        task=DETECTION,
    )


def _of_onnx(path: Path, data: bytes) -> tuple[str, Facts]:
    model = parse_model(data)
    said = {entry.key: entry.value for entry in model.metadata_props}
    labels, preprocess, made = (
        parse_json(said[key], f"metadata {key!r} of {path}", MAX_FILE_BYTES) if said.get(key) else None
        for key in (LABELS, PREPROCESS, QUANTIZATION)
    )
    if not isinstance(labels, list | None) or not isinstance(preprocess, dict | None):
        raise UsageError(f"{path}: metadata {LABELS!r} or {PREPROCESS!r} is not what repghost writes; quantize again.")
    classes = [it.dim_value for output in model.graph.output for it in output.type.tensor_type.shape.dim]
    quantized = is_quantized(path)
    return QUANTIZED_FILE if quantized else FLOAT_FILE, Facts(
        said.get(MODEL) or path.name.partition(".")[0],
        "int8 ONNX with Q/DQ nodes" if quantized else "float32 ONNX",
        ("int8" if quantized else "fp32", "onnx"),
        len(labels) if labels else (classes or [0])[-1],
        tuple(map(str, labels)) if labels else None,
        Preprocess.from_dict(preprocess).to_dict() if preprocess else None,
        {"config": made["config"]} if isinstance(made, dict) and "config" in made else {},
    )
