"""What other runtimes are given: the same float network and QDQ file as the bundle, and the images it carries."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calib.importer.import_onnx import import_onnx
from calib.importer.onnx_file import MAX_FILE_BYTES, parse_model
from compile.bench.peers.inputs import PeerInputs
from compile.bundle.host_model import load
from compile.bundle.manifest import Bundle
from compile.bundle.vectors import unpack_vectors
from compile.frontend.qdq_file import read_qdq
from compile.report.run_report import QDQ_FILE
from compile.stages.quantize import FLOAT_FILE, FUSED_FILE, WEIGHTS
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, option
from repghost.evaluation.accuracy import predict
from repghost.untrusted import read_bounded

if TYPE_CHECKING:
    from repghost.network.model import RepGhostNet

VNNI = frozenset({"avx512_vnni", "avx_vnni"})


@dataclass(frozen=True, eq=False)
class Prepared:
    """What other runtimes start from, the images, and what the float network says about them."""

    inputs: PeerInputs
    images: NDArray[np.uint8]  # [N, height, width, channels]
    float_logits: NDArray[np.float32] | None  # logits [N, classes]; None where there is no float network
    reasons: dict[str, str]  # why a file is absent, by the name it has in `PeerInputs`

    def why_absent(self, kind: str) -> str:
        """Return why there is no "onnx" or "qdq"."""
        return self.reasons.get(kind, f"the {kind} file is not there")


def prepare(bundle: Bundle, folder: Path, weights: Path | None, flags: frozenset[str]) -> Prepared:
    """Write everything other runtimes start from into a folder.

    Args:
        bundle: a bundle for this machine, usually in the folder of a run: build/<model>/<target>/<precision>.
        folder: an empty one.
        weights: a float checkpoint or .onnx to use instead of the one the run kept.
        flags: the features of this machine's cores.

    Raises:
        UsageError: when `weights` cannot be used.
    """
    images = unpack_vectors(bundle.read("vectors.bin")).images
    preprocess = Preprocess.from_dict(bundle.manifest["preprocess"])
    np.save(folder / "pictures.npy", images)
    np.save(folder / "inputs.npy", preprocess.normalize(images))
    run_folder = bundle.path.absolute().parent.parent
    reasons: dict[str, str] = {}
    qdq = _run_file(run_folder / QDQ_FILE, partial(_is_qdq_of, bundle, preprocess), "qdq", reasons)
    onnx, logits = None, None
    if weights is not None and weights.suffix == ".onnx":
        onnx = _existing(weights)
    elif weights is None and (run_folder / FLOAT_FILE).is_file():
        onnx = _run_file(run_folder / FLOAT_FILE, partial(_is_float_file_of, bundle), "onnx", reasons)
    else:
        kept = _run_file(run_folder / FUSED_FILE, partial(_is_network_of, bundle), "onnx", reasons)
        source = _existing(weights) if weights is not None else kept
        if source is not None:
            onnx, logits = _export(source, folder, preprocess, images)
    if onnx is not None and logits is None and "outputs" not in bundle.manifest:
        logits = _logits_of(onnx, preprocess, images)
    inputs = PeerInputs(
        folder=folder,
        onnx=onnx,
        qdq=qdq,
        images=folder / "pictures.npy",
        inputs=folder / "inputs.npy",
        mean=preprocess.mean,
        std=preprocess.std,
        saturates=platform.machine() == "x86_64" and not VNNI & flags,
        results=tuple(it["name"] for it in bundle.manifest.get("outputs", ())),
    )
    return Prepared(inputs, images, logits, reasons)


def our_logits(bundle: Bundle, variant: str | None, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits of a host bundle for cropped images, float32 [N, classes]."""
    model = load(bundle.path)
    model.select(variant)
    return model.logits(images)


def _weights_digest(bundle: Bundle) -> str:
    weights = bundle.manifest["model"].get("weights")
    return str(weights.get("sha256", "")) if isinstance(weights, dict) else ""


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"{path} is no file; give a float checkpoint, or a float32 .onnx.")
    return path.absolute()


def _run_file(path: Path, belongs: Callable[[Path], bool], kind: str, reasons: dict[str, str]) -> Path | None:
    """Return a file of the run the bundle belongs to, or None when it is not there or of other weights."""
    hint = f"give the float network with {option('weights', 'FILE')}"
    if not path.is_file():
        reasons[kind] = f"{path} is not there; {hint}"
    elif not belongs(path):
        reasons[kind] = f"{path} was made from other weights than the bundle; {hint}, or build the bundle again"
    else:
        return path
    return None


def _is_qdq_of(bundle: Bundle, preprocess: Preprocess, path: Path) -> bool:
    """Return whether a QDQ file is the bundle's program, or its weights in integers."""
    graph = read_qdq(path, preprocess)
    same_weights = graph.metadata.get("repghost.checkpoint_sha256", "") == _weights_digest(bundle)
    return same_weights or graph.digest == bundle.manifest["program_digest"]


def _is_network_of(bundle: Bundle, path: Path) -> bool:
    """Return whether a fused network was made from the bundle's weights."""
    from repghost.checkpoints.checkpoint import read_checkpoint

    return read_checkpoint(path).metadata.get("weights_sha256", "") == _weights_digest(bundle)


def _is_float_file_of(bundle: Bundle, path: Path) -> bool:
    """Return whether a float ONNX file was made from the bundle's weights."""
    model = parse_model(read_bounded(path, MAX_FILE_BYTES))
    return {entry.key: entry.value for entry in model.metadata_props}.get(WEIGHTS) == _weights_digest(bundle)


def _logits_of(path: Path, preprocess: Preprocess, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits of a float ONNX file."""
    from repghost.graph.module import GraphModule

    graph = import_onnx(path, (preprocess.height, preprocess.width)).graph
    return predict(GraphModule(graph), images, preprocess)


def _export(
    source: Path, folder: Path, preprocess: Preprocess, images: NDArray[np.uint8]
) -> tuple[Path, NDArray[np.float32]]:
    """Write the fused network as ONNX; return the path and its logits for the images."""
    from repghost.checkpoints.checkpoint import load_model
    from repghost.exporters.onnx import to_bytes, to_onnx
    from repghost.network.fuse import fuse

    network: RepGhostNet = fuse(load_model(source))
    onnx = folder / "model.onnx"
    onnx.write_bytes(to_bytes(to_onnx(network, preprocess.size)))
    return onnx, predict(network, images, preprocess)
