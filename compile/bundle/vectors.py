"""The vectors of a bundle: real images and the logits that the numpy reference gives for them.

The file format stands in compile/runner/bundle/vectors.h. As a program this module reads a QDQ file and images and
writes vectors in a process that never loads TVM, so that no compiled code computes the logits it is checked against:

    python -m compile.bundle.vectors MODEL.qdq.onnx PREPROCESS.json PICTURES.npy VECTORS.bin
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calib.integer.reference import run
from repghost.channels import CHANNELS, RGB
from repghost.errors import IntegrityError, RepGhostError, UsageError
from repghost.files import write_bytes_atomically

USAGE = "python -m compile.bundle.vectors MODEL.qdq.onnx PREPROCESS.json PICTURES.npy VECTORS.bin"
MAGIC = b"RGVEC\0\0\1"
HEADER = struct.Struct("<8sIIIIfI")


@dataclass(frozen=True, eq=False)
class Vectors:
    """Recorded inputs and expected outputs."""

    images: NDArray[np.uint8]  # [N, height, width, channels]
    logits: NDArray[np.float32]  # [N, classes]
    tolerance: float = 0.0  # the largest allowed difference of a logit; 0 means equal to the bit


def pack_vectors(vectors: Vectors) -> bytes:
    """Return the bytes of a vectors file.

    Raises:
        UsageError: when the arrays do not fit together or there are none.
    """
    images, logits = vectors.images, vectors.logits
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in CHANNELS or not len(images):
        raise UsageError(f"vectors need uint8 pictures [N, height, width, 1 to 4], not {images.dtype} {images.shape}.")
    if logits.dtype != np.float32 or logits.ndim != 2 or len(logits) != len(images):
        raise UsageError(f"vectors need {len(images)} rows of float32 logits, not {logits.dtype} {logits.shape}.")
    if not np.isfinite(logits).all() or not 0 <= vectors.tolerance < np.inf:
        raise UsageError("vectors need finite logits and a tolerance of at least 0.")
    count, height, width, channels = images.shape
    said = 0 if channels == RGB else channels  # as in files from before there were others
    header = HEADER.pack(MAGIC, count, height, width, logits.shape[1], vectors.tolerance, said)
    body = images.tobytes()
    return header + body + b"\0" * (-len(body) % 4) + logits.astype("<f4").tobytes()


def unpack_vectors(data: bytes) -> Vectors:
    """Read a vectors file.

    Raises:
        IntegrityError: when it is truncated, too long or of another format.
    """
    if len(data) < HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise IntegrityError("this is no vectors file; its first bytes are wrong.")
    _, count, height, width, classes, tolerance, said = HEADER.unpack_from(data)
    channels = said or RGB
    if channels not in CHANNELS:
        raise IntegrityError(f"the vectors file has pictures of {channels} channels; 1 to 4 are understood.")
    size = count * height * width * channels
    start = HEADER.size + size + -size % 4
    expected = start + 4 * count * classes
    if not count or len(data) != expected:
        raise IntegrityError(f"the vectors file has {len(data)} bytes, but {count} pictures need {expected}.")
    images = np.frombuffer(data, np.uint8, size, HEADER.size).reshape(count, height, width, channels)
    logits = np.frombuffer(data, "<f4", count * classes, start).reshape(count, classes).astype(np.float32)
    return Vectors(images, logits, tolerance)


def tvm_is_loaded() -> bool:
    """Return whether this process holds TVM, as a Python module or as a library."""
    maps = Path("/proc/self/maps")
    return "tvm" in sys.modules or (maps.exists() and "libtvm" in maps.read_text())


def main(arguments: list[str]) -> int:
    """Write the vectors of the images `arguments` names; see the top of the file."""
    from compile.frontend.qdq_file import read_qdq
    from compile.passes import lower
    from repghost.data.images.preprocess import read_preprocess

    if len(arguments) != 4:
        print(f"usage: {USAGE}", file=sys.stderr)
        return 2
    model, rule, images, output = (Path(argument) for argument in arguments)
    try:
        loaded = np.load(images, allow_pickle=False)
        program = lower(read_qdq(model, read_preprocess(rule)))
        vectors = Vectors(loaded, run(program, loaded))
        if tvm_is_loaded():
            raise IntegrityError("TVM is loaded in the process that writes the expected logits; it must not be.")
        write_bytes_atomically(output, pack_vectors(vectors))
    except RepGhostError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
