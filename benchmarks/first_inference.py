"""How long a program waits for its first logits: loading model.so and one inference, in a process that did neither.

    python -m benchmarks.first_inference MODEL.so SIZE CLASSES

prints the milliseconds from before the library is opened until the logits are there.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from compile.bundle.manifest import Bundle
from compile.storage.stage_cache import ROOT
from repghost.errors import IntegrityError
from repghost.processes import run_limited

ALIGNMENT = 64  # bytes, of the workspace
PROCESSES = 15
TIME_LIMIT = 60  # seconds of one process


def measure_first_inference(bundle: Bundle, processes: int = PROCESSES) -> dict[str, Any]:
    """Return the milliseconds of the first inference of a bundle for this machine: minimum, median and maximum.

    Args:
        bundle: from `check_bundle`.
        processes: each loads the library once.
    """
    model = bundle.path.absolute() / "model.so"
    command = [sys.executable, "-m", "benchmarks.first_inference", str(model), str(math.prod(bundle.shape))]
    command.append(str(bundle.manifest["classes"]))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    times = []
    for _ in range(processes):
        done = run_limited(
            command, TIME_LIMIT, name="the first inference", advice="Try again when the machine has less to do.",
            environment=environment,
        )  # fmt: skip
        if done.returncode:
            raise IntegrityError(f"{model}: the first inference failed: {done.stderr.strip()[-300:]}")
        times.append(float(json.loads(done.stdout)))
    return {"processes": processes, "min_ms": min(times), "median_ms": statistics.median(times), "max_ms": max(times)}


def first_inference(model: Path, picture_bytes: int, classes: int) -> float:
    """Return the milliseconds from opening a library to the logits of a black image."""
    image, logits = (ctypes.c_uint8 * picture_bytes)(), (ctypes.c_float * classes)()
    start = time.perf_counter_ns()
    library = ctypes.CDLL(str(model), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    library.rg_workspace_bytes.restype = ctypes.c_size_t
    memory = ctypes.create_string_buffer(library.rg_workspace_bytes() + ALIGNMENT)
    workspace = -(-ctypes.addressof(memory) // ALIGNMENT) * ALIGNMENT
    status = library.rg_infer(image, logits, ctypes.c_void_p(workspace))
    elapsed = time.perf_counter_ns() - start
    if status:
        raise RuntimeError(f"rg_infer answers {status}")
    return elapsed / 1e6


if __name__ == "__main__":
    print(json.dumps(first_inference(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
