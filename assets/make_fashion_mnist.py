"""Remake repghost/bundled/fashion-mnist from the complete set: `python assets/make_fashion_mnist.py DIR`.

DIR holds Fashion-MNIST's four idx files, e.g. /usr/share/datasets/fashion-mnist (Debian's `dataset-fashion-mnist`). The
test set is copied byte for byte. The calibration set is CALIBRATION_PICTURES pictures of the training set, equally many
of each class, none of which the `demo` recipe holds out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repghost import bundled
from repghost.data.formats.fashion_mnist import open_fashion_mnist, write_idx
from repghost.data.subset import choose_balanced
from repghost.files import write_bytes_atomically
from repghost.training.recipe import get_recipe
from repghost.training.train import held_out_indices

CALIBRATION_PICTURES = 1024
CALIBRATION_SEED = 1
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def calibration_indices(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which training pictures are carried for calibration.

    Args:
        labels: int64 [60000], of the whole training set.
    """
    held_out = held_out_indices(labels, get_recipe("demo"))
    return choose_balanced(labels, CALIBRATION_PICTURES, CALIBRATION_SEED, exclude=held_out)


def remake(source: Path, target: Path) -> None:
    """Write the test and the calibration set into `target`."""
    for name in TEST_FILES:
        write_bytes_atomically(target / name, (source / name).read_bytes())
    training = open_fashion_mnist(source, "train")
    chosen = calibration_indices(training.labels)
    write_idx(target / "calibration-images-idx3-ubyte.gz", training.pictures[chosen])
    write_idx(target / "calibration-labels-idx1-ubyte.gz", training.labels[chosen].astype(np.uint8))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    remake(Path(sys.argv[1]), bundled.DATA)
