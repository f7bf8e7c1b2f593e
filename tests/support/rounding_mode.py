"""A network in every mode of floating-point arithmetic that a calling thread can be in."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compile.link.zig import run_zig
from compile.targets.table import Target

SOURCE = Path(__file__).with_suffix(".c")
OUTCOMES = {0: "same", 1: "other answers", 2: "a thread has another mode"}


def in_every_mode(
    library: Path, image: NDArray[np.uint8], classes: int, target: Target, prefix: Sequence[str], folder: Path
) -> str:
    """Return "same", or what the calling thread's mode changed.

    Args:
        library: a model.so.
        image: what the network reads.
        classes: how many logits it gives.
        target: what the library is for.
        prefix: what stands before a program of the target, such as an emulator.
        folder: where the program that calls the library is written.
    """
    program = folder / "rounding_mode"
    (folder / "image").write_bytes(image.tobytes())
    run_zig(["cc", "-target", target.zig_triple, "-O1", str(SOURCE), "-ldl", "-lpthread", "-o", str(program)])
    command = [*prefix, str(program), str(library), str(folder / "image"), str(classes)]
    code = subprocess.run(command, timeout=120, check=False).returncode
    return OUTCOMES.get(code, f"no run: {code}")
