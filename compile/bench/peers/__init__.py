"""Other runtimes that run the same network: one file each, and the table of them.

Each module holds two functions, called in a process of its own (`compile.bench.peers.worker`):

    prepare(inputs, form) -> Path                 converts the network into the runtime's file, once
    open_session(path, inputs, form, threads)     returns a `Session`

A new runtime is a file and a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from repghost.errors import unknown_value


class Session(Protocol):
    """A network that is ready to run with a fixed number of threads."""

    def feed(self, image: NDArray[np.float32]) -> None:
        """Copy a normalized image, [1, 3, H, W], to where `run` reads it."""

    def run(self) -> None:
        """Run one inference; this alone is timed."""

    def logits(self) -> NDArray[np.float32]:
        """Return the logits of the last inference, [classes]."""


class PeerModule(Protocol):
    """What every module of this package has."""

    def prepare(self, inputs: Any, form: str) -> Path:
        """Convert the network."""

    def open_session(self, path: Path, inputs: Any, form: str, threads: int) -> Session:
        """Load the network."""


@dataclass(frozen=True)
class Form:
    """One way a runtime runs the network."""

    name: str  # unique within the peer
    precision: str
    made_by: str  # who quantized it and how, for the report
    needs: str  # the file it is made from: "onnx" or "qdq" of `compile.bench.peers.inputs.PeerInputs`
    only: str = ""  # the machine it is for, as `platform.machine` calls it; "" for every one


@dataclass(frozen=True)
class Limit:
    """An instruction set that a runtime is held to by switches of its own."""

    variant: str  # as `compile.targets.table` calls it
    switches: tuple[tuple[str, str], ...]  # environment variables and their values

    def __str__(self) -> str:
        """Return the switches as a shell takes them."""
        return " ".join(f"{name}={value}" for name, value in self.switches)


def _openvino_limit(variant: str, name: str) -> Limit:
    """Return OpenVINO's limit: one switch for its own kernels and one for oneDNN's, which have to agree."""
    return Limit(variant, (("OV_CPU_MAX_ISA", name), ("ONEDNN_MAX_CPU_ISA", name)))


@dataclass(frozen=True)
class Peer:
    """A runtime that can be compared with."""

    name: str
    module: str
    packages: tuple[str, ...]  # what pip installs
    version_of: str  # the package whose version is reported
    forms: tuple[Form, ...]
    missing: str = ""  # what it cannot do, and why
    alone: bool = False  # whether its packages exclude TVM's and so need an environment of their own
    # Most runtimes have none: ONNX Runtime 1.32, ncnn 20261020, MNN 3.6 and LiteRT 2.3 ask the processor alone, and
    # read no environment variable that names an instruction set.
    limits: tuple[Limit, ...] = ()

    def command(self, python: Path | None = None) -> str:
        """Return the command that installs it for the interpreter `python`, or for this one."""
        install = f"pip install {' '.join(self.packages)}"
        if python is not None:
            return f"{python} -m {install}"
        if not self.alone:
            return install
        return f"python3 -m venv peers && peers/bin/{install}; then 'repghost bench --python peers/bin/python'"


FLOAT = "exported from the fused network"
QDQ = "our QDQ file"
HALF = "aarch64"  # computes with halves
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "onnxruntime",
            "compile.bench.peers.onnxruntime",
            ("onnxruntime", "onnx"),
            "onnxruntime",
            (
                Form("fp32", "fp32", FLOAT, "onnx"),
                Form("int8", "int8", "ONNX Runtime's static quantizer, per channel", "onnx"),
                Form("qdq", "int8", QDQ, "qdq"),
            ),
        ),
        Peer(
            "openvino",
            "compile.bench.peers.openvino",
            ("openvino", "nncf"),
            "openvino",
            (
                Form("fp32", "fp32", FLOAT, "onnx"),
                Form("int8", "int8", "NNCF", "onnx"),
                Form("qdq", "int8", QDQ, "qdq"),
            ),
            limits=(_openvino_limit("avx2", "AVX2"), _openvino_limit("avxvnni", "AVX2_VNNI")),
        ),
        Peer(
            "ncnn",
            "compile.bench.peers.ncnn",
            ("ncnn", "pnnx"),
            "ncnn",
            (Form("fp32", "fp32", FLOAT, "onnx"), Form("fp16", "fp16", FLOAT, "onnx", only=HALF)),
            missing="int8 is left out: its quantizer is not among its Python packages",
        ),
        Peer(
            "mnn",
            "compile.bench.peers.mnn",
            ("MNN",),
            "MNN",
            (
                Form("fp32", "fp32", FLOAT, "onnx"),
                Form("fp16", "fp16", FLOAT, "onnx", only=HALF),
                Form("int8", "int8", "MNN's quantizer, moving averages", "onnx"),
            ),
        ),
        Peer(
            "litert",
            "compile.bench.peers.litert",
            ("litert-torch", "ai-edge-litert", "ai-edge-quantizer"),
            "ai-edge-litert",
            (
                Form("fp32", "fp32", f"{FLOAT}, NHWC", "onnx"),
                Form("int8", "int8", "AI Edge Quantizer, NHWC", "onnx"),
            ),
            alone=True,
        ),
    )
}


def parse_peers(text: str) -> tuple[Peer, ...]:
    """Return the rows named in a comma-separated list; "all" is every row.

    Raises:
        UsageError: for a name that is not in the table.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if "all" in names:
        return tuple(PEERS.values())
    for name in names:
        if name not in PEERS:
            raise unknown_value("runtime", name, [*PEERS, "all"])
    return tuple(peer for peer in PEERS.values() if peer.name in names)
