"""The samples of a bundle: images, the logits expected for them, and the tolerance on a board.

TensorRT computes what is not int8 in float16, in an order of its own. How far that moves the logits is measured: the
same file is evaluated once in float32 and once with every float tensor rounded to float16. A value that falls to the
other side of a rounding step moves by a whole int8 step, so the distance is that of quantization noise, far above the
rounding of float16 itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from compile.bundle.manifest import Bundle
from compile.subject.subject import Images
from repghost.errors import IntegrityError

if TYPE_CHECKING:
    from repghost.data.images.preprocess import Preprocess

COUNT = 8  # each is a start of trtexec on the board
MOST_NUMBERS = 1 << 20  # of all samples: what is expected is text, and awk on the board compares it
MEASURED_ON = 32  # images
MARGIN = 2.0  # times the largest measured distance
LEAST = 0.02  # of the largest logit: sums of float16 in another order
KINDS = ("int8", "fp16")


@dataclass(frozen=True, eq=False)
class Expected:
    """The logits one file of a bundle has to give, and their tolerance.

    Attributes:
        logits: float32 [N, classes]; of several results [N, numbers].
        tolerance: the largest difference of a logit or number.
        half_distance: the largest one that rounding to float16 alone made.
    """

    logits: NDArray[np.float32]
    tolerance: float
    half_distance: float


def choose_samples(images: Images, numbers: int = 1) -> NDArray[np.uint8]:
    """Return uint8 [N, height, width, channels] at equal distances, because sets are often sorted by class.

    Args:
        images: to choose from.
        numbers: that the network gives for each; where they are very many, there are fewer samples.
    """
    count = min(COUNT, len(images.labels), max(1, MOST_NUMBERS // numbers))
    chosen = np.unique(np.linspace(0, len(images.labels) - 1, count).astype(int))
    return images.images[chosen]


def expect(
    model: onnx.ModelProto,
    half: onnx.ModelProto,
    samples: NDArray[np.uint8],
    others: NDArray[np.uint8],
    preprocess: Preprocess,
) -> Expected:
    """Return the expected logits of a file, computed by PyTorch, and their tolerance.

    Args:
        model: the file.
        half: the same network as a float16 file; `model` itself where it is one.
        samples: uint8 [N, height, width, channels].
        others: more images, for the tolerance alone.
        preprocess: of the images.
    """
    from compile.tensorrt.evaluate import TorchNetwork

    logits = TorchNetwork(model)(preprocess.normalize(samples))
    inputs = preprocess.normalize(np.concatenate([samples, others[:MEASURED_ON]]))
    exact, rounded = TorchNetwork(half)(inputs), TorchNetwork(half, half=True)(inputs)
    distance = float(np.abs(exact - rounded).max())
    largest = float(np.abs(exact).max())
    return Expected(logits, float(f"{max(MARGIN * distance, LEAST * largest):.4g}"), distance)


def sample_files(samples: NDArray[np.uint8], expected: dict[str, Expected], preprocess: Preprocess) -> dict[str, bytes]:
    """Return the files of the samples: normalized float32 [channels, H, W] each, as trtexec loads them, and the logits.

    Args:
        samples: uint8 [N, height, width, channels].
        expected: by name, see `KINDS`.
        preprocess: of the images.
    """
    files = {
        f"sample-{index}.bin": np.ascontiguousarray(image, "<f4").tobytes()
        for index, image in enumerate(preprocess.normalize(samples))
    }
    for kind, values in expected.items():
        lines = [" ".join(f"{value:.9g}" for value in row) for row in values.logits]
        files[f"expected-{kind}.txt"] = ("\n".join(lines) + "\n").encode()
    return files


def read_samples(bundle: Bundle, kind: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the inputs, float32 [N, channels, height, width], and the logits they have to give, float32 [N, classes].

    Raises:
        IntegrityError: when the files do not fit together.
    """
    names = sorted(
        (name for name in bundle.manifest["files"] if name.startswith("sample-")), key=lambda name: (len(name), name)
    )
    height, width, channels = bundle.shape
    shape = (channels, height, width)
    bodies = [bundle.read(name) for name in names]
    if not bodies or any(len(body) != 4 * np.prod(shape) for body in bodies):
        raise IntegrityError(f"{bundle.path}: samples must be float32 {list(shape)}. Build the bundle again.")
    try:
        rows = [[float(value) for value in line.split()] for line in bundle.read(f"expected-{kind}.txt").splitlines()]
        logits = np.array(rows, np.float32)
    except ValueError as error:
        raise IntegrityError(f"{bundle.path}: expected-{kind}.txt cannot be read: {error}.") from error
    if logits.shape != (len(bodies), bundle.manifest["classes"]) or not np.isfinite(logits).all():
        raise IntegrityError(f"{bundle.path}: expected-{kind}.txt is {logits.shape}, for {len(bodies)} samples.")
    return np.stack([np.frombuffer(body, "<f4").reshape(shape) for body in bodies]).astype(np.float32), logits
