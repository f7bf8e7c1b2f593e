"""Lets TensorRT for RTX parse and build ONNX files, without a GPU: a program of its own, for an interpreter of its own.

    python -m benchmarks.tensorrt.rtx_worker FILE.onnx...

prints one JSON object a file. It needs the package tensorrt_rtx and nothing else. Nothing it says is about a Jetson: it
builds for compute capability 8.6, because 8.7 (Orin) is refused there.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

NAME = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
KIND = re.compile(r", LayerType: (\w+)")
ELEMENT_WISE = "kgen"
INPUTS = re.compile(r"Inputs: \[(.*?)\](?:, Constants|, Outputs)")
DATATYPE = re.compile(r"Datatype: (\w+)")


def read_layers(lines: list[str]) -> dict[str, list[str]]:
    """Return, by the name of each ONNX node, the types of the inputs of the layer it became.

    Element-wise kernels before and after a convolution name it too, so they count only where nothing else does.

    Args:
        lines: of the verbose log, which lists the layers of an engine with their types.
    """
    kernels: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for line in lines:
        kind = KIND.search(line)
        if kind is None or "Metadata: " not in line:
            continue
        inputs = INPUTS.search(line)
        types = DATATYPE.findall(inputs[1]) if inputs else []
        for name in NAME.findall(line.rpartition("Metadata: ")[2]):
            (kernels if kind[1] == ELEMENT_WISE else others)[name] = types
    return {**kernels, **others}


def build(path: Path, trt: Any) -> dict[str, Any]:
    """Return what parsing and building one file gave.

    Args:
        path: the ONNX file.
        trt: the module tensorrt_rtx.
    """
    lines: list[str] = []

    class Logger(trt.ILogger):
        def log(self, severity: Any, message: str) -> None:
            lines.extend(str(message).splitlines())

    logger, started = Logger(), time.monotonic()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        errors = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        return {"file": str(path), "parsed": False, "errors": errors}
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    engine = builder.build_serialized_network(network, config)
    errors = [] if engine is not None else [line for line in lines if "rror" in line][-5:]
    return {
        "file": str(path),
        "parsed": True,
        "built": engine is not None,
        "errors": errors,
        "engine_bytes": 0 if engine is None else int(engine.nbytes),
        "seconds": round(time.monotonic() - started, 2),
        "layers": read_layers(lines),
        "version": str(trt.__version__),
    }


def main(arguments: list[str]) -> int:
    """Build every file; see the top."""
    import tensorrt_rtx

    for argument in arguments:
        print(json.dumps(build(Path(argument), tensorrt_rtx)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
