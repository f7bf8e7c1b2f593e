"""`repghost qat` on a small set of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from tests.support.lively_network import CLASSES, SIZE, lively_model

PREPROCESS = Preprocess(size=SIZE, resize=SIZE, interpolation="bilinear")


BYTES = np.random.default_rng(0).integers(0, 256, (8, SIZE // 8, SIZE // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for index in range(20):
        folder = root / "train" / "abcde"[index % CLASSES]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(BYTES[index % 8], index, 0)).save(folder / f"{index}.png")
    write_checkpoint(root / "model.safetensors", lively_model(), PREPROCESS.to_dict(), tuple("abcde"))
    write_checkpoint(root / "other.safetensors", lively_model(), PREPROCESS.to_dict(), tuple("abcdf"))
    return root


def qat(*arguments: str | int | Path) -> Result:
    return CliRunner().invoke(cli, ["qat", *map(str, arguments)])
