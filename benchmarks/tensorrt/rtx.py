"""What NVIDIA's builder says of a file, where there is no Jetson and no GPU: TensorRT for RTX parses and builds it.

It proves that the Q/DQ nodes are legal, that every operator is covered, and which convolutions become int8 there. It
does not prove what TensorRT on Orin fuses, nor any speed: it is another product, and builds for another GPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compile.storage.files import sha256
from compile.storage.measurements import Measurements
from compile.storage.stage_cache import ROOT
from repghost.errors import RepGhostError, ToolMissingError, install_command
from repghost.processes import run_limited

MODULE = "tensorrt_rtx"
TIME_LIMIT_S = 900.0  # of one file
INT8 = "Int8"


@dataclass(frozen=True)
class RtxBuild:
    """One file that was given to the builder.

    Attributes:
        parsed: whether the parser took it.
        built: whether an engine came out.
        errors: what was said otherwise.
        engine_bytes: of the engine, which no Jetson can load.
        seconds: it took, on whatever this machine was doing besides.
        layers: types of the inputs of the layer that an ONNX node became.
        version: of TensorRT for RTX.
    """

    parsed: bool
    built: bool
    errors: tuple[str, ...]
    engine_bytes: int
    seconds: float
    layers: Mapping[str, tuple[str, ...]]
    version: str

    def int8_layers(self, names: Sequence[str]) -> frozenset[str]:
        """Return which of some convolutions read int8."""
        return frozenset(name for name in names if self.layers.get(name) and INT8 in self.layers[name])


def rtx_is_here() -> bool:
    """Return whether this interpreter has TensorRT for RTX."""
    return find_spec(MODULE) is not None


def build_with_rtx(paths: Sequence[Path], python: Path | None = None) -> list[RtxBuild]:
    """Let TensorRT for RTX parse and build files, in a process of its own.

    Args:
        paths: ONNX files.
        python: an interpreter that has it; this one by default.

    Raises:
        ToolMissingError: when it is not installed.
        RepGhostError: when the builder crashed.
    """
    if python is None and not rtx_is_here():
        raise ToolMissingError(f"TensorRT for RTX is not installed: {install_command('tensorrt-rtx')}")
    command = [str(python or sys.executable), "-m", "benchmarks.tensorrt.rtx_worker", *map(str, paths)]
    try:
        advice = "Try again with fewer files."
        done = run_limited(command, TIME_LIMIT_S * len(paths), name="TensorRT for RTX", advice=advice, folder=ROOT)
    except OSError as error:
        raise ToolMissingError(f"cannot start {command[0]}: {error.strerror}.") from error
    if done.returncode:
        if "ModuleNotFoundError" in done.stderr:
            raise ToolMissingError(f"{command[0]} has no {MODULE}: pip install tensorrt-rtx-cu12 there.")
        raise RepGhostError(f"TensorRT for RTX ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    return [_read(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]


def build_once(content: bytes, python: Path | None, store: Measurements) -> RtxBuild:
    """Return what building a file gave; the same bytes are built once.

    Args:
        content: of the ONNX file.
        python: see `build_with_rtx`.
        store: keeps the result.
    """
    worker = (Path(__file__).parent / "rtx_worker.py").read_bytes()
    key = {"file": sha256(content), "worker": sha256(worker), "python": str(python)}

    def build() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="repghost-rtx-") as name:
            path = Path(name) / "model.onnx"
            path.write_bytes(content)
            (found,) = build_with_rtx([path], python)
        return asdict(found)

    return _read(store.record("rtx", key, build))


def _read(values: dict[str, Any]) -> RtxBuild:
    return RtxBuild(
        parsed=bool(values["parsed"]),
        built=bool(values.get("built")),
        errors=tuple(values["errors"]),
        engine_bytes=int(values.get("engine_bytes", 0)),
        seconds=float(values.get("seconds", 0.0)),
        layers={name: tuple(types) for name, types in values.get("layers", {}).items()},
        version=str(values.get("version", "")),
    )
